//! stub
pub(crate) fn main(_words: &[String]) -> Result<(), String> {
    Err("not yet".into())
}
