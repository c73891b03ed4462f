//! stub
use super::Bench;
use super::figure::Figure;

pub(super) fn run(_bench: &Bench) -> Vec<Figure> {
    Vec::new()
}
