use crate::{
    answer::Answer,
    dialect::{Ask, Checked, Problem},
    http::Head,
};
pub(crate) fn check<'a>(ask: &'a Ask<'a>) -> Checked<'a> {
    Err(ask.refuse(Problem::of(500, "x"), true))
}
pub(crate) fn error(_: &Ask<'_>, problem: Problem<'_>) -> Answer {
    Answer::json(problem.status, &serde_json::Value::Null)
}
pub(crate) fn access_key(_: &Head) -> Option<&str> {
    None
}
