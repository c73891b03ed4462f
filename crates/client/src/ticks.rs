//! Ticks: what was decided, and what is to come.

use crate::call::Ask;
use crate::client::{Client, escape};
use crate::error::Error;
use kin_api::tick::{DueList, DueQuery, TickList, TickQuery};

impl Client {
    /// One page of decisions, the last one first.
    pub async fn ticks(&self, query: &TickQuery) -> Result<TickList, Error> {
        let TickQuery { job, limit, before } = query;
        let fields = [
            job.as_ref().map(|job| format!("job={}", escape(job))),
            limit.map(|limit| format!("limit={limit}")),
            before.map(|before| format!("before={before}")),
        ];
        self.inner.call(&Ask::get(path("/v1/ticks", fields))).await?.json()
    }

    /// The instants to come, the next one first.
    pub async fn due(&self, query: &DueQuery) -> Result<DueList, Error> {
        let DueQuery { job, within_ms, limit } = query;
        let fields = [
            job.as_ref().map(|job| format!("job={}", escape(job))),
            within_ms.map(|within| format!("within_ms={within}")),
            limit.map(|limit| format!("limit={limit}")),
        ];
        self.inner.call(&Ask::get(path("/v1/ticks/next", fields))).await?.json()
    }
}

fn path(path: &str, fields: impl IntoIterator<Item = Option<String>>) -> String {
    let fields: Vec<String> = fields.into_iter().flatten().collect();
    if fields.is_empty() { path.into() } else { format!("{path}?{}", fields.join("&")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_asked_for_is_not_said() {
        assert_eq!(path("/v1/ticks", [None, None]), "/v1/ticks");
        assert_eq!(path("/v1/ticks", [Some("job=a".into()), None, Some("limit=1".into())]), "/v1/ticks?job=a&limit=1");
    }
}
