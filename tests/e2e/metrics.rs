//! What a scrape is told, and whether Prometheus would take it and its rules.
use anyhow::{Context, Result, ensure};
use api::MetadataBackupPolicy;
use kube::api::DeleteParams;
use kubedr_tests::{Installation, Program, programs, until, with_kubedr};
use serde_json::json;

/// The documentation's own rules are tried, not a copy.
const DOCUMENTATION: &str = include_str!("../../docs/metrics.md");
const ALERTS: &str = include_str!("metrics/alerts.yaml");

#[tokio::test]
async fn a_success_and_a_failure_show_in_the_metrics_with_the_reason() {
    with_kubedr("metrics", async |kubedr| {
        kubedr.ready_policy(&json!({})).await?;
        let record = kubedr.successful_backup("etcd").await?.status.context("no status")?;
        // Whatever a pod says of a missing Secret is final: its Job ends at once.
        kubedr.change_policy("etcd", json!({ "etcdCreds": "forgotten" })).await?;
        kubedr.backup("etcd").await?;
        let figure = |value: Option<i64>| value.context("the record lacks a figure");
        let page = told(kubedr, &[
            "kubedr_leader 1".to_owned(),
            of_policy("num_backups", 2),
            of_policy("num_successful_backups", 1),
            of_policy("num_failed_backups", 1),
            of_policy("missed_runs_total", 0),
            of_policy("backup_duration_seconds_count", 1),
            of_policy("records", 1),
            of_policy("backup_size_bytes", figure(record.added_bytes)?),
            of_policy("backup_total_bytes", figure(record.size_bytes)?),
            of_policy("etcd_db_size_bytes", figure(record.etcd.context("no etcd")?.db_size_bytes)?),
            of_policy("etcd_objects", figure(record.objects.context("no objects")?.count)?),
            r#"kubedr_condition{kind="MetadataBackupPolicy",name="etcd",type="Fresh",status="False",reason="SecretMissing"} 1"#.to_owned(),
            r#"kubedr_condition{kind="BackupLocation",name="s3",type="Ready",status="True",reason="Ready"} 1"#.to_owned(),
        ])
        .await?;
        for name in ["last_success", "next_run", "policy_created"] {
            let metric = format!("kubedr_{name}_timestamp_seconds{{policyName=\"etcd\"}} ");
            ensure!(page.lines().any(|line| line.starts_with(&metric)), "no {metric} in\n{page}");
        }
        prometheus_takes(&page).await?;
        a_deleted_policy_takes_its_series_with_it(kubedr).await
    })
    .await;
}

fn of_policy(metric: &str, value: i64) -> String {
    format!("kubedr_{metric}{{policyName=\"etcd\"}} {value}")
}

/// Scrapes until all these lines are there: a cache may lag a moment behind.
async fn told(kubedr: &Installation, lines: &[String]) -> Result<String> {
    until("the metrics to tell of it", async || {
        let page = kubedr.metrics().await?;
        let lacks: Vec<_> =
            lines.iter().filter(|line| !page.lines().any(|found| found == *line)).cloned().collect();
        Ok(if lacks.is_empty() { Ok(page) } else { Err((lacks, page)) })
    })
    .await
}

async fn promtool() -> Result<Program> {
    Ok(Program::new(programs("prometheus").await?.join("promtool")))
}

/// promtool finds fault with what is upstream's, and with nothing else.
async fn prometheus_takes(page: &str) -> Result<()> {
    let verdict = promtool().await?.args(["check", "metrics"]).input(page).output().await?;
    let said = [verdict.stdout, verdict.stderr].concat();
    let upstreams = ["num_backups", "num_successful_backups", "num_failed_backups"]
        .map(|name| format!("kubedr_{name} counter metrics should have \"_total\" suffix"));
    let is_upstreams = |line: &str| {
        line.ends_with("label names should be written in 'snake_case' not 'camelCase'")
            || upstreams.iter().any(|known| known == line)
    };
    let faults: Vec<_> = said.lines().filter(|line| !is_upstreams(line)).collect();
    ensure!(faults.is_empty(), "{faults:#?}");
    ensure!(upstreams.iter().all(|known| said.contains(known)), "promtool did not look: {said}");
    Ok(())
}

async fn a_deleted_policy_takes_its_series_with_it(kubedr: &Installation) -> Result<()> {
    kubedr.api::<MetadataBackupPolicy>().delete("etcd", &DeleteParams::default()).await?;
    until("the series to go", async || {
        let page = kubedr.metrics().await?;
        let is_gone = !page.contains(r#""etcd""#) && page.contains(r#"name="s3""#);
        Ok(if is_gone { Ok(()) } else { Err(page) })
    })
    .await
}

#[tokio::test]
async fn the_documented_alerts_fire_and_only_then() {
    let folder = tempfile::tempdir().expect("a folder");
    let rules = DOCUMENTATION.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next());
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text);
    write("rules.yaml", rules.expect("the documentation has rules")).expect("written");
    write("test.yaml", ALERTS).expect("written");
    let test = folder.path().join("test.yaml");
    let promtool = promtool().await.expect("promtool is there");
    promtool.args(["test", "rules"]).arg(test).succeed().await.expect("they do");
}
