//! stub
use super::Bench;
use super::figure::Figure;

pub(super) fn run(_bench: &Bench) -> Vec<Figure> {
    Vec::new()
}

pub(super) fn server_with(_bench: &Bench, _runs: u64, _durability: Option<&str>) -> testkit::Server {
    unimplemented!()
}
