//! Writes that are right only for what was read: of several who write the same at once, one does.
use kube::{
    Resource, ResourceExt,
    api::{Patch, PatchParams, PostParams},
    core::Request,
};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{CallError, Context, Error, Target, act::api_of, call};

/// What became of such a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is done.
    Written,
    /// Somebody else has written since, or the object is gone: look again.
    Overtaken,
}

/// Writes a whole object back, unless it has changed since it was read.
///
/// Its answer is not looked at: it may be a Secret, and kube logs what it cannot read.
pub async fn put_back<K>(ctx: &Context, object: &K) -> Result<Outcome, Error>
where
    K: Resource<DynamicType = ()> + Serialize,
{
    let (name, body) = (object.name_any(), serde_json::to_vec(object).expect("Kubernetes types serialise"));
    let objects = Request::new(K::url_path(&(), object.meta().namespace.as_deref()));
    let manager = Some(ctx.manager.to_owned());
    let put = objects.replace(&name, &PostParams { field_manager: manager, ..PostParams::default() }, body);
    let written =
        call(async { ctx.client.request_text(put.map_err(kube::Error::BuildRequest)?).await }).await;
    settled(written, &K::kind(&()), &name)
}

/// Changes some fields of an object, unless anything of it has changed since it was seen.
///
/// Items of lists that have names are found by them; all else stays as it is.
pub async fn amend(ctx: &Context, seen: &Target, mut change: Value) -> Result<Outcome, Error> {
    change["metadata"] = json!({ "uid": seen.uid, "resourceVersion": seen.version });
    let params = PatchParams { field_manager: Some(ctx.manager.to_owned()), ..PatchParams::default() };
    let objects = api_of(ctx, &seen.types, &seen.namespace);
    let written = call(objects.patch(&seen.name, &params, &Patch::Strategic(change))).await;
    settled(written, &seen.types.kind, &seen.name)
}

fn settled<T>(written: Result<T, CallError>, kind: &str, name: &str) -> Result<Outcome, Error> {
    match written {
        Ok(_) => Ok(Outcome::Written),
        Err(error) if error.is_conflict() || error.is_not_found() => Ok(Outcome::Overtaken),
        Err(source) => Err(Error::Write { kind: kind.to_owned(), name: name.to_owned(), source }),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::{
        ByteString,
        api::{admissionregistration::v1::ValidatingWebhookConfiguration, core::v1::Secret},
    };
    use kube::core::ObjectMeta;
    use rstest::rstest;

    use super::*;
    use crate::apiserver::{Step, answers, context, refuses};

    const SECRET: &str = "PUT /api/v1/namespaces/backup/secrets/authority";
    const CONFIGURATION: &str =
        "PATCH /apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/kubedr";

    fn metadata(name: &str, namespace: Option<&str>) -> ObjectMeta {
        ObjectMeta {
            name: Some(name.to_owned()),
            namespace: namespace.map(str::to_owned),
            uid: Some("u".to_owned()),
            resource_version: Some("7".to_owned()),
            ..ObjectMeta::default()
        }
    }

    fn secret() -> Secret {
        let data = Some([("tls.key".to_owned(), ByteString(b"hunter2".to_vec()))].into());
        Secret { metadata: metadata("authority", Some("backup")), data, ..Secret::default() }
    }

    async fn put(script: Vec<Step>) -> (Result<Outcome, Error>, Vec<(String, Value)>) {
        let (ctx, heard) = context(script);
        let result = put_back(&ctx, &secret()).await;
        drop(ctx);
        (result, heard.await.expect("every expected request arrived"))
    }

    async fn amended(script: Vec<Step>) -> (Result<Outcome, Error>, Vec<(String, Value)>) {
        let (ctx, heard) = context(script);
        let configuration =
            ValidatingWebhookConfiguration { metadata: metadata("kubedr", None), webhooks: None };
        let change = json!({ "webhooks": [{ "name": "a", "clientConfig": { "caBundle": "YQ==" } }] });
        let result = amend(&ctx, &Target::as_seen(&configuration), change).await;
        drop(ctx);
        (result, heard.await.expect("every expected request arrived"))
    }

    #[tokio::test]
    async fn an_object_is_written_back_at_the_version_at_which_it_was_read() {
        let (result, heard) = put(vec![answers(SECRET, 200, json!({}))]).await;
        assert_eq!(result.expect("written"), Outcome::Written);
        assert!(heard[0].0.ends_with("?&fieldManager=kubedr-operator%2Ftest"), "{}", heard[0].0);
        assert_eq!(heard[0].1["metadata"]["resourceVersion"], "7");
        assert_eq!(heard[0].1["data"], json!({ "tls.key": "aHVudGVyMg==" }));
    }

    #[tokio::test]
    async fn a_change_names_nothing_but_itself_and_the_object_as_it_was_seen() {
        let (result, heard) = amended(vec![answers(CONFIGURATION, 200, json!({ "metadata": {} }))]).await;
        assert_eq!(result.expect("written"), Outcome::Written);
        let expected = json!({
            "metadata": { "uid": "u", "resourceVersion": "7" },
            "webhooks": [{ "name": "a", "clientConfig": { "caBundle": "YQ==" } }],
        });
        assert_eq!(heard[0].1, expected);
    }

    #[rstest]
    #[case::that_somebody_else_was_faster_with(409, "Conflict")]
    #[case::of_what_is_gone(404, "NotFound")]
    #[tokio::test]
    async fn a_write_is_no_error(#[case] code: u16, #[case] word: &str) {
        let (result, _) = put(vec![refuses(SECRET, code, word)]).await;
        assert_eq!(result.expect("no error"), Outcome::Overtaken);
        let (result, _) = amended(vec![refuses(CONFIGURATION, code, word)]).await;
        assert_eq!(result.expect("no error"), Outcome::Overtaken);
    }

    #[tokio::test]
    async fn a_refusal_tells_nothing_of_what_was_to_be_written() {
        let (result, _) = put(vec![refuses(SECRET, 403, "Forbidden")]).await;
        let error = result.expect_err("it is forbidden");
        assert_eq!(model::chain(&error), r#"failed to write Secret "authority": it is Forbidden"#);
        assert!(!format!("{error:?}").contains("aHVudGVyMg"), "{error:?}");
    }

    #[tokio::test]
    async fn an_answer_that_cannot_be_read_is_not_looked_at() {
        let (result, _) = put(vec![answers(SECRET, 200, json!([7]))]).await;
        assert_eq!(result.expect("written"), Outcome::Written);
    }
}
