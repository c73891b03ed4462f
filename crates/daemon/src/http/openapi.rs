//! The OpenAPI document, made from the types of the contract and the table of routes. It is checked in as
//! `crates/api/openapi.json`.

use super::routes::{Asks, Field, FieldKind, Method, Need, ROUTES, Route, Says, What};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use std::sync::OnceLock;
use utoipa::OpenApi as _;
use utoipa::openapi::path::{HttpMethod, Operation, OperationBuilder, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{Object, SchemaType, Type};
use utoipa::openapi::{
    Content, InfoBuilder, OpenApi, OpenApiBuilder, Paths, Ref, RefOr, Required, Response as Answer, ResponseBuilder,
    ResponsesBuilder, Schema,
};

#[derive(utoipa::OpenApi)]
#[openapi(components(schemas(
    kin_api::ApiError,
    kin_api::Code,
    kin_api::ErrorBody,
    kin_api::Event,
    kin_api::Run,
    kin_api::RunList,
    kin_api::RunRequest,
    kin_api::job::DefineRequest,
    kin_api::job::Definition,
    kin_api::job::Definitions,
    kin_api::job::DisableRequest,
    kin_api::job::DryRun,
    kin_api::job::Job,
    kin_api::run::AdoptRequest,
    kin_api::job::JobList,
    kin_api::job::JobRunRequest,
    kin_api::job::Mistake,
    kin_api::job::PlanStep,
    kin_api::job::Queue,
    kin_api::job::QueueList,
    kin_api::job::QueueRequest,
    kin_api::job::Reload,
    kin_api::job::ReloadRequest,
    kin_api::project::Down,
    kin_api::project::Project,
    kin_api::project::ProjectList,
    kin_api::project::Up,
    kin_api::project::UpRequest,
    kin_api::job::RestartRequest,
    kin_api::job::ScaleRequest,
    kin_api::job::Source,
    kin_api::run::BatchAnswer,
    kin_api::run::BatchItem,
    kin_api::run::BatchRequest,
    kin_api::run::Released,
    kin_api::run::Rlimit,
    kin_api::run::Serial,
    kin_api::run::SignalRequest,
    kin_api::run::SpawnFailure,
    kin_api::run::StopRequest,
    kin_api::run::Trigger,
    kin_api::run::TtySize,
    kin_api::why::Again,
    kin_api::why::Follower,
    kin_api::why::Join,
    kin_api::why::Outlook,
    kin_api::why::Reason,
    kin_api::why::Why,
    kin_api::server::Check,
    kin_api::server::Doctor,
    kin_api::server::Server,
    kin_api::server::ShutdownAnswer,
    kin_api::server::ShutdownRequest,
    kin_api::schedule::Coming,
    kin_api::schedule::Explained,
    kin_api::schedule::Explanation,
    kin_api::schedule::Remarked,
    kin_api::server::UpgradeRequest,
    kin_api::tick::Due,
    kin_api::tick::DueList,
    kin_api::tick::Moved,
    kin_api::tick::Tick,
    kin_api::tick::TickList,
)))]
struct Schemas;

/// The document, as it is checked in.
pub fn openapi_json() -> String {
    let mut text = document().to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
}

pub async fn serve() -> Response {
    static TEXT: OnceLock<String> = OnceLock::new();
    ([(CONTENT_TYPE, "application/json")], TEXT.get_or_init(openapi_json).as_str()).into_response()
}

const DESCRIPTION: &str = "Run it, keep it running, know what happened.\n\n\
Every refusal is an `ErrorBody`, but for what is no HTTP request at all: a malformed head is answered by 400, one of more \
than 16 KiB by 431, a path that is too long by 414, without a body. A connection that breaks without an answer says nothing \
of what was done: ask again, under the same `Idempotency-Key`.";

fn document() -> OpenApi {
    let info = InfoBuilder::new().title("kin").version("v1").description(Some(DESCRIPTION)).build();
    let mut paths = Paths::new();
    for route in ROUTES {
        let method = match route.method {
            Method::Get => HttpMethod::Get,
            Method::Post => HttpMethod::Post,
            Method::Put => HttpMethod::Put,
            Method::Delete => HttpMethod::Delete,
        };
        paths.add_path_operation(route.path, vec![method], operation(route));
    }
    OpenApiBuilder::new().info(info).paths(paths).components(Schemas::openapi().components).build()
}

fn operation(route: &Route) -> Operation {
    let Asks { body, query, headers } = route.asks;
    let mut operation = OperationBuilder::new().operation_id(Some(route.id)).summary(Some(route.summary));
    let names = route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    for name in names {
        operation = operation.parameter(parameter(name, ParameterIn::Path, Type::String, Required::True).build());
    }
    for (fields, place) in [(query, ParameterIn::Query), (headers, ParameterIn::Header)] {
        for field in fields {
            operation = operation.parameter(described(field, place.clone()));
        }
    }
    let requires = |need| if need == Need::Must { Required::True } else { Required::False };
    let json = |schema| Content::new(Some(Ref::from_schema_name(schema)));
    operation = operation.request_body(body.map(|(schema, need)| {
        RequestBodyBuilder::new().content("application/json", json(schema)).required(Some(requires(need))).build()
    }));
    let failure =
        ResponseBuilder::new().description("Why it was not done.").content("application/json", json("ErrorBody"));
    let responses = route.says.iter().fold(ResponsesBuilder::new().response("default", failure), |all, says| {
        all.response(says.status.to_string(), answer(says))
    });
    operation.responses(responses.build()).build()
}

fn answer(says: &Says) -> Answer {
    let answer = ResponseBuilder::new().description(says.summary);
    let answer = match says.what {
        What::Json(schema) => answer.content("application/json", Content::new(Some(Ref::from_schema_name(schema)))),
        What::AnyJson => answer.content("application/json", Content::new(Some(Object::new()))),
        What::Other(kinds) => {
            kinds.iter().fold(answer, |answer, kind| answer.content(*kind, Content::new(None::<RefOr<Schema>>)))
        }
    };
    answer.build()
}

fn described(field: &Field, place: ParameterIn) -> Parameter {
    let kind = match field.kind {
        FieldKind::Text => Type::String,
        FieldKind::Number => Type::Integer,
        FieldKind::Flag => Type::Boolean,
    };
    parameter(field.name, place, kind, Required::False).description(Some(field.summary)).build()
}

fn parameter(name: &str, place: ParameterIn, kind: Type, required: Required) -> ParameterBuilder {
    let schema = Object::with_type(SchemaType::Type(kind));
    ParameterBuilder::new().name(name).parameter_in(place).required(required).schema(Some(schema))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const PLACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../api/openapi.json");

    #[test]
    fn the_document_that_is_checked_in_is_this_one() {
        let there = std::fs::read_to_string(PLACE).unwrap_or_default();
        assert!(there == openapi_json(), "crates/api/openapi.json is stale; `cargo xtask gen` writes it anew");
    }

    #[test]
    fn every_route_stands_in_it_once_and_nothing_else_does() {
        let document: serde_json::Value = serde_json::from_str(&openapi_json()).expect("json");
        assert_eq!(document["openapi"], "3.1.0");
        let paths = document["paths"].as_object().expect("paths");
        let said: BTreeSet<(String, String)> = paths
            .iter()
            .flat_map(|(path, item)| item.as_object().expect("an item").keys().map(|m| (m.clone(), path.clone())))
            .collect();
        let served: BTreeSet<(String, String)> = ROUTES
            .iter()
            .map(|route| {
                let method = match route.method {
                    Method::Get => "get",
                    Method::Post => "post",
                    Method::Put => "put",
                    Method::Delete => "delete",
                };
                (method.to_string(), route.path.to_string())
            })
            .collect();
        assert_eq!(said, served);
        assert_eq!(served.len(), ROUTES.len());
    }

    #[test]
    fn every_name_in_it_leads_somewhere() {
        let text = openapi_json();
        let document: serde_json::Value = serde_json::from_str(&text).expect("json");
        for part in text.split("\"#/").skip(1) {
            let name = part.split('"').next().expect("a name");
            assert!(document.pointer(&format!("/{name}")).is_some(), "{name}");
        }
    }
}
