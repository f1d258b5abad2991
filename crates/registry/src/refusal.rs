//! Everything the registry answers that is not a success: HTTP status, Confluent's error code, Confluent's words.

use axum::http::StatusCode;
use serde_json::json;

/// A refused request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} ({code})")]
pub struct Refusal {
    pub status: StatusCode,
    pub code: u32,
    pub message: String,
}

impl Refusal {
    fn new(status: StatusCode, code: u32, message: String) -> Self {
        Self { status, code, message }
    }

    fn not_found(code: u32, message: String) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, message)
    }

    fn unprocessable(code: u32, message: String) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, message)
    }

    pub fn subject_not_found(subject: &str) -> Self {
        Self::not_found(40401, format!("Subject '{subject}' not found."))
    }

    pub fn version_not_found(version: impl std::fmt::Display) -> Self {
        Self::not_found(40402, format!("Version {version} not found."))
    }

    pub fn schema_not_found() -> Self {
        Self::not_found(40403, "Schema not found".to_owned())
    }

    pub fn schema_id_not_found(id: u32) -> Self {
        Self::not_found(40403, format!("Schema {id} not found"))
    }

    pub fn subject_soft_deleted(subject: &str) -> Self {
        let message = format!("Subject '{subject}' was soft deleted.Set permanent=true to delete permanently");
        Self::not_found(40404, message)
    }

    pub fn subject_not_soft_deleted(subject: &str) -> Self {
        let message = format!("Subject '{subject}' was not deleted first before being permanently deleted");
        Self::not_found(40405, message)
    }

    pub fn version_soft_deleted(subject: &str, version: u32) -> Self {
        let message =
            format!("Subject '{subject}' Version {version} was soft deleted.Set permanent=true to delete permanently");
        Self::not_found(40406, message)
    }

    pub fn version_not_soft_deleted(subject: &str, version: u32) -> Self {
        let message =
            format!("Subject '{subject}' Version {version} was not deleted first before being permanently deleted");
        Self::not_found(40407, message)
    }

    pub fn no_subject_level(subject: &str) -> Self {
        let message = format!("Subject '{subject}' does not have subject-level compatibility configured");
        Self::not_found(40408, message)
    }

    pub fn no_subject_mode(subject: &str) -> Self {
        Self::not_found(40409, format!("Subject '{subject}' does not have subject-level mode configured"))
    }

    pub fn invalid_schema(reason: &str) -> Self {
        Self::unprocessable(42201, format!("Invalid schema of type AVRO, details: {reason}"))
    }

    pub fn schema_type_not_kept(schema_type: &str) -> Self {
        let message = format!("Invalid schema type {schema_type}: this registry keeps schemas of type AVRO only");
        Self::unprocessable(42201, message)
    }

    pub fn references_not_kept() -> Self {
        let message = "Invalid schema: this registry does not resolve schema references; post the whole schema";
        Self::unprocessable(42201, message.to_owned())
    }

    pub fn invalid_version(version: &str) -> Self {
        let message = format!(
            "The specified version '{version}' is not a valid version id. Allowed values are between [1, 2^31-1] and the string \"latest\""
        );
        Self::unprocessable(42202, message)
    }

    pub fn invalid_level() -> Self {
        let message = "Invalid compatibility level. Valid values are none, backward, forward, full, backward_transitive, forward_transitive, and full_transitive";
        Self::unprocessable(42203, message.to_owned())
    }

    pub fn invalid_mode() -> Self {
        let message = "Invalid mode. Valid values are READWRITE, READONLY, READONLY_OVERRIDE, IMPORT";
        Self::unprocessable(42204, message.to_owned())
    }

    pub fn not_permitted(message: String) -> Self {
        Self::unprocessable(42205, message)
    }

    pub fn id_taken(id: u32) -> Self {
        Self::unprocessable(42207, format!("Overwrite new schema with id {id} is not permitted."))
    }

    pub fn incompatible(subject: &str, details: &[String]) -> Self {
        let message = format!(
            "Schema being registered is incompatible with an earlier schema for subject \"{subject}\", details: [{}]",
            details.join(", ")
        );
        Self::new(StatusCode::CONFLICT, 409, message)
    }

    pub fn bad_request(message: String) -> Self {
        Self::new(StatusCode::BAD_REQUEST, 400, message)
    }

    pub fn no_such_path() -> Self {
        Self::not_found(404, "HTTP 404 Not Found".to_owned())
    }

    pub fn no_such_method() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, 405, "HTTP 405 Method Not Allowed".to_owned())
    }

    /// The write may or may not have happened; asking again is safe.
    pub fn store(reason: &str) -> Self {
        let message = format!("Error in the backend Kafka store: {reason}");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, 50001, message)
    }

    pub fn timed_out(what: &str) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, 50002, format!("Operation timed out: {what}"))
    }

    pub fn forwarding(reason: &str) -> Self {
        let message = format!("Error while forwarding the request to the leader: {reason}");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, 50003, message)
    }

    pub fn no_leader() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, 50004, "Leader not known.".to_owned())
    }

    /// The topic has not been read to its end yet.
    pub fn loading() -> Self {
        let message = "The registry is still reading its topic; try again".to_owned();
        Self::new(StatusCode::SERVICE_UNAVAILABLE, 50301, message)
    }

    /// The answer's body.
    pub fn body(&self) -> String {
        json!({ "error_code": self.code, "message": self.message }).to_string()
    }
}
