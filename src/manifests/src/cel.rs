//! Evaluates CEL as the API server would, in tests.
use kube::core::cel::{
    KubeCelExt,
    cel::{Context, Program, Value as Found},
};
use serde_json::Value;

/// A context with these variables.
pub fn context<'a>(variables: impl IntoIterator<Item = (&'static str, &'a Value)>) -> Context<'static> {
    let mut context = Context::default().with_all();
    for (name, value) in variables {
        context.add_variable(name, value).expect("JSON is CEL");
    }
    context
}

/// What an expression gives.
pub fn evaluated(expression: &str, context: &Context) -> Found {
    let program = Program::compile(expression).unwrap_or_else(|error| unreachable!("{expression}: {error}"));
    program.execute(context).unwrap_or_else(|error| unreachable!("{expression}: {error}"))
}
