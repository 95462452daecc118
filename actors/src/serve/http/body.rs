//! Bodies of requests: bounded in size and time, compressed or not.

use actix_web::HttpRequest;
use actix_web::dev::Decompress;
use actix_web::http::header::CONTENT_LENGTH;
use actix_web::web::Payload;
use futures_util::StreamExt;
use tokio::time::timeout;

use crate::serve::error::RequestError;
use crate::serve::site::Site;

/// Room for a body before it comes: a tensor of 224 x 224 pixels has 600 kB.
const FIRST: usize = 1 << 20;

/// Reads all of a body.
pub(super) async fn read(
    site: &Site,
    request: &HttpRequest,
    payload: Payload,
) -> Result<Vec<u8>, RequestError> {
    let limit = site.body_limit();
    let announced = request.headers().get(CONTENT_LENGTH).and_then(|text| text.to_str().ok());
    let size = announced.and_then(|text| text.parse::<usize>().ok()).unwrap_or_default();
    if size > limit {
        return Err(RequestError::TooLarge { limit });
    }
    let mut chunks = Decompress::from_headers(payload.into_inner(), request.headers());
    let whole = async {
        // What is announced may never come: room is made for a small part of it at first.
        let mut body = Vec::with_capacity(size.min(FIRST));
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|error| {
                RequestError::Malformed(format!("the body cannot be read: {error}"))
            })?;
            if body.len() + chunk.len() > limit {
                return Err(RequestError::TooLarge { limit });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    };
    let patience = site.body_patience;
    timeout(patience, whole).await.unwrap_or(Err(RequestError::SlowBody(patience)))
}
