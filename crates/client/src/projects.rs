//! Projects: up, down, and which there are.

use crate::call::Ask;
use crate::client::{Client, Key, escape};
use crate::error::Error;
use hyper::Method;
use kin_api::project::{Down, Project, ProjectList, Up, UpRequest};

impl Client {
    /// The projects that are up, of a server that runs already; where there is none, none is.
    pub async fn projects(&self) -> Result<Vec<Project>, Error> {
        let answer = self.inner.call(&Ask::get("/v1/projects").of_the_running()).await;
        match answer.and_then(|answer| answer.json::<ProjectList>()) {
            Ok(list) => Ok(list.projects),
            Err(Error::NoServer { .. }) => Ok(Vec::new()),
            // An older server.
            Err(error) if error.is_not_found() => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// The same again changes nothing, so a broken connection does no harm.
    pub async fn project_up(&self, request: &UpRequest) -> Result<Up, Error> {
        self.inner.call(&Ask::post("/v1/projects", request, Key::random()?.as_str())?).await?.json()
    }

    pub async fn project_down(&self, project: &str) -> Result<Down, Error> {
        let path = format!("/v1/projects/{}", escape(project));
        let ask = Ask::post(path, &serde_json::json!({}), Key::random()?.as_str())?.method(Method::DELETE);
        self.inner.call(&ask.of_the_running()).await?.json()
    }
}
