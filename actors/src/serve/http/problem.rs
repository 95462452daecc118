//! How errors look over HTTP: `{"error": "..."}`, as the protocol has it.

use actix_web::http::StatusCode;
use actix_web::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, ResponseError};
use serde::Serialize;

use crate::serve::error::{Kind, RequestError};

#[derive(Serialize)]
struct Problem<'a> {
    error: &'a str,
}

impl ResponseError for RequestError {
    fn status_code(&self) -> StatusCode {
        match self.kind() {
            Kind::NotFound => StatusCode::NOT_FOUND,
            Kind::Invalid => StatusCode::BAD_REQUEST,
            Kind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Kind::SlowBody => StatusCode::REQUEST_TIMEOUT,
            Kind::Unauthenticated => StatusCode::UNAUTHORIZED,
            Kind::Exhausted => StatusCode::TOO_MANY_REQUESTS,
            Kind::Late => StatusCode::GATEWAY_TIMEOUT,
            Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn error_response(&self) -> HttpResponse {
        response(self).json(Problem { error: &self.to_string() })
    }
}

/// Status and headers of the answer to a request with this error.
pub(super) fn response(error: &RequestError) -> HttpResponseBuilder {
    let mut response = HttpResponse::build(error.status_code());
    if let Some(after) = error.retry_after() {
        response.insert_header((RETRY_AFTER, after.as_secs_f64().ceil().to_string()));
    }
    if error.kind() == Kind::Unauthenticated {
        response.insert_header((WWW_AUTHENTICATE, "Bearer"));
    }
    response
}

/// The answer to whatever has no path here.
pub(super) async fn no_such_path(request: HttpRequest) -> HttpResponse {
    let error = format!("there is no {}; /openapi.json lists what there is", request.path());
    HttpResponse::NotFound().json(Problem { error: &error })
}
