//! Defined jobs and queues: one method for each thing that may be asked of them.

use crate::call::Ask;
use crate::client::{Client, Key, escape};
use crate::error::Error;
use hyper::Method;
use kin_api::Run;
use kin_api::job::{
    DefineRequest, Definition, Definitions, DisableRequest, DryRun, Job, JobList, JobRunRequest, Queue, QueueList,
    QueueRequest, Reload, ReloadRequest, RestartRequest, ScaleRequest,
};
use kin_api::run::AdoptRequest;
use serde::Serialize;
use serde::de::DeserializeOwned;

impl Client {
    /// The jobs that a name, a glob or an `@tag` means; all without one. Nothing that matches is an empty list.
    pub async fn jobs(&self, name: Option<&str>) -> Result<Vec<Job>, Error> {
        listed(self.inner.call(&Ask::get(jobs_path(name))).await?.json::<JobList>())
    }

    /// All jobs, and the files that do not hold as they are.
    pub async fn job_list(&self) -> Result<JobList, Error> {
        self.inner.call(&Ask::get(jobs_path(None))).await?.json()
    }

    /// The same of a server that runs already; `None` where there is none.
    pub async fn job_list_of_the_running(&self) -> Result<Option<JobList>, Error> {
        match self.inner.call(&Ask::get(jobs_path(None)).of_the_running()).await {
            Ok(answer) => answer.json().map(Some),
            Err(Error::NoServer { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub async fn job(&self, job: &str) -> Result<Job, Error> {
        self.inner.call(&Ask::get(path(job, ""))).await?.json()
    }

    /// The revisions of its definition that are known, the newest first.
    pub async fn definitions(&self, job: &str) -> Result<Vec<Definition>, Error> {
        let mut all = self.inner.call(&Ask::get(path(job, "/definitions"))).await?.json::<Definitions>()?.definitions;
        all.sort_by_key(|definition| std::cmp::Reverse(definition.rev));
        Ok(all)
    }

    pub async fn define(&self, job: &str, text: &str) -> Result<Job, Error> {
        let request = DefineRequest { text: text.to_owned() };
        let ask = Ask::post(path(job, ""), &request, Key::random()?.as_str())?.method(Method::PUT);
        self.inner.call(&ask).await?.json()
    }

    /// Its definition goes at once, the job itself when its runs have ended.
    pub async fn undefine(&self, job: &str) -> Result<(), Error> {
        let nothing = serde_json::json!({});
        let ask = Ask::post(path(job, ""), &nothing, Key::random()?.as_str())?.method(Method::DELETE);
        let answer = self.inner.call(&ask).await?;
        if answer.status.is_success() { Ok(()) } else { answer.json::<serde_json::Value>().map(drop) }
    }

    /// One run, whatever becomes of the connection: the key makes it so.
    pub async fn run_job(&self, job: &str, request: &JobRunRequest, key: &Key) -> Result<Run, Error> {
        let request = JobRunRequest { dry_run: false, ..request.clone() };
        self.inner.call(&Ask::post(path(job, "/run"), &request, key.as_str())?).await?.json()
    }

    /// A process that lives already becomes a run.
    pub async fn adopt(&self, request: &AdoptRequest, key: &Key) -> Result<Run, Error> {
        self.inner.call(&Ask::post("/v1/adopt", request, key.as_str())?).await?.json()
    }

    pub async fn dry_run(&self, job: &str, request: &JobRunRequest) -> Result<DryRun, Error> {
        let request = JobRunRequest { dry_run: true, ..request.clone() };
        self.of_job(job, "/run", &request).await
    }

    pub async fn start_job(&self, job: &str) -> Result<Job, Error> {
        self.of_job(job, "/start", &serde_json::json!({})).await
    }

    pub async fn stop_job(&self, job: &str) -> Result<Job, Error> {
        self.of_job(job, "/stop", &serde_json::json!({})).await
    }

    /// Over a connection that breaks at the wrong instant, it may be restarted twice.
    pub async fn restart_job(&self, job: &str, request: &RestartRequest) -> Result<Job, Error> {
        self.of_job(job, "/restart", request).await
    }

    pub async fn scale_job(&self, job: &str, instances: u32) -> Result<Job, Error> {
        self.of_job(job, "/scale", &ScaleRequest { instances }).await
    }

    pub async fn enable_job(&self, job: &str) -> Result<Job, Error> {
        self.of_job(job, "/enable", &serde_json::json!({})).await
    }

    /// `until`: only its schedule, and only until then.
    pub async fn disable_job(&self, job: &str, until: Option<String>) -> Result<Job, Error> {
        self.of_job(job, "/disable", &DisableRequest { until }).await
    }

    /// Reads the job files again. Never starts a server, which would read them itself.
    pub async fn reload(&self, request: &ReloadRequest) -> Result<Reload, Error> {
        let ask = Ask::post("/v1/reload", request, Key::random()?.as_str())?;
        self.inner.call(&ask.of_the_running()).await?.json()
    }

    pub async fn queues(&self) -> Result<Vec<Queue>, Error> {
        Ok(self.inner.call(&Ask::get("/v1/queues")).await?.json::<QueueList>()?.queues)
    }

    pub async fn set_queue(&self, queue: &str, request: &QueueRequest) -> Result<Queue, Error> {
        let ask = Ask::post(format!("/v1/queues/{}", escape(queue)), request, Key::random()?.as_str())?;
        self.inner.call(&ask).await?.json()
    }

    async fn of_job<T: DeserializeOwned>(&self, job: &str, verb: &str, body: &impl Serialize) -> Result<T, Error> {
        self.inner.call(&Ask::post(path(job, verb), body, Key::random()?.as_str())?).await?.json()
    }
}

fn path(job: &str, verb: &str) -> String {
    format!("/v1/jobs/{}{verb}", escape(job))
}

fn jobs_path(name: Option<&str>) -> String {
    name.map_or_else(|| "/v1/jobs".into(), |name| format!("/v1/jobs?name={}", escape(name)))
}

fn listed(answer: Result<JobList, Error>) -> Result<Vec<Job>, Error> {
    match answer {
        Ok(list) => Ok(list.jobs),
        Err(error) if error.is_not_found() => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_travel_escaped() {
        assert_eq!(path("a/b", "/run"), "/v1/jobs/a%2Fb/run");
        assert_eq!(jobs_path(Some("@night")), "/v1/jobs?name=%40night");
        assert_eq!(jobs_path(None), "/v1/jobs");
    }
}
