//go:build tools

// Package tools names the programs of this set, so that go.mod keeps what they need.
package tools

import (
	_ "k8s.io/kubernetes/cmd/kube-apiserver"
)
