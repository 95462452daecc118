//! Pictures in, words and boxes out: for curl, cameras and the page.
//!
//! A picture is the whole body, or a file of a form (`multipart/form-data`).

use actix_multipart::Multipart;
use actix_web::http::header::CONTENT_TYPE;
use actix_web::web::{Data, Path, Payload};
use actix_web::{HttpRequest, HttpResponse};
use edgeld_runtime::units::Ms;
use futures_util::StreamExt;
use serde::Serialize;
use tokio::time::timeout;

use super::named::Named;
use super::{body, problem};
use crate::serve::about::VERSION;
use crate::serve::error::RequestError;
use crate::serve::model::{Found, Question, Served};
use crate::serve::site::Site;
use crate::task::{Detection, Meaning, NamedClass, NamedObject};

/// A value in a form is at most this long.
const VALUE: usize = 64;

#[derive(Serialize)]
struct Classes<'a> {
    model_name: &'a str,
    model_version: &'static str,
    classes: Vec<NamedClass<'a>>,
    total_ms: Ms,
}

#[derive(Serialize)]
struct Objects<'a> {
    model_name: &'a str,
    model_version: &'static str,
    detections: Vec<NamedObject<'a>>,
    total_ms: Ms,
}

/// What a picture shows.
pub(super) async fn classify(
    named: Path<Named>,
    site: Data<Site>,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, RequestError> {
    let (served, found) = look(&site, &named, Question::Classify, &request, payload).await?;
    let Found { interpreter, meaning, answer } = found;
    let classes = match &meaning {
        Meaning::Classes(classes) => &classes[..],
        Meaning::Raw | Meaning::Objects(_) => &[],
    };
    Ok(HttpResponse::Ok().json(Classes {
        model_name: &served.name,
        model_version: VERSION,
        classes: classes.iter().map(|class| interpreter.name_class(class)).collect(),
        total_ms: answer.total,
    }))
}

/// Which objects are where in a picture.
pub(super) async fn detect(
    named: Path<Named>,
    site: Data<Site>,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, RequestError> {
    let (served, found) = look(&site, &named, Question::Detect, &request, payload).await?;
    let Found { interpreter, meaning, answer } = found;
    Ok(HttpResponse::Ok().json(Objects {
        model_name: &served.name,
        model_version: VERSION,
        detections: objects(&meaning).iter().map(|one| interpreter.name_object(one)).collect(),
        total_ms: answer.total,
    }))
}

/// What the model that a path names finds in the picture of a request.
async fn look<'a>(
    site: &'a Site,
    named: &Named,
    question: Question,
    request: &HttpRequest,
    payload: Payload,
) -> Result<(&'a Served, Found<'a>), RequestError> {
    let served = site.model(&named.model, named.version.as_deref())?;
    served.has_room()?;
    let picture = Form::read(site, request, payload).await?.picture()?;
    Ok((served, served.look(question, picture).await?))
}

fn objects(meaning: &Meaning) -> &[Detection] {
    match meaning {
        Meaning::Objects(objects) => objects,
        Meaning::Raw | Meaning::Classes(_) => &[],
    }
}

/// DeepStack's answer, which Frigate and others read.
#[derive(Serialize)]
struct DeepStack {
    success: bool,
    predictions: Vec<Prediction>,
    /// In seconds.
    duration: f64,
}

#[derive(Serialize)]
struct Prediction {
    label: String,
    confidence: f32,
    x_min: u32,
    y_min: u32,
    x_max: u32,
    y_max: u32,
}

#[derive(Serialize)]
struct DeepStackProblem {
    success: bool,
    error: String,
}

/// Which objects are where in the file `image` of a form, as DeepStack answers.
pub(super) async fn deepstack(
    site: Data<Site>,
    request: HttpRequest,
    payload: Payload,
) -> HttpResponse {
    seen(&site, &request, payload).await.unwrap_or_else(|error| {
        site.refused(&error);
        let problem = DeepStackProblem { success: false, error: error.to_string() };
        problem::response(&error).json(problem)
    })
}

async fn seen(
    site: &Site,
    request: &HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, RequestError> {
    let served = site.detector()?;
    served.has_room()?;
    let form = Form::read(site, request, payload).await?;
    let least = form.least_confidence;
    let Found { interpreter, meaning, answer } =
        served.look(Question::Detect, form.picture()?).await?;
    let predictions = objects(&meaning).iter().filter(|one| one.score >= least).map(|one| {
        let object = interpreter.name_object(one);
        let [x_min, y_min, x_max, y_max] = object.bounds.map(|at| at.round() as u32);
        let label = object.label.map_or_else(|| object.class.to_string(), str::to_owned);
        Prediction { label, confidence: object.score, x_min, y_min, x_max, y_max }
    });
    let predictions = predictions.collect();
    let duration = answer.total.0 / 1e3;
    Ok(HttpResponse::Ok().json(DeepStack { success: true, predictions, duration }))
}

/// What a request with a picture brings.
#[derive(Default)]
struct Form {
    picture: Option<Vec<u8>>,
    /// How sure the detector must be of an object.
    least_confidence: f32,
}

impl Form {
    async fn read(
        site: &Site,
        request: &HttpRequest,
        payload: Payload,
    ) -> Result<Form, RequestError> {
        let content = request.headers().get(CONTENT_TYPE).and_then(|text| text.to_str().ok());
        if !content.is_some_and(|text| text.starts_with("multipart/form-data")) {
            let picture = body::read(site, request, payload).await?;
            return Ok(Form { picture: Some(picture), ..Form::default() });
        }
        let parts = Multipart::new(request.headers(), payload.into_inner());
        let patience = site.body_patience;
        timeout(patience, Form::of(parts, site.body_limit()))
            .await
            .unwrap_or(Err(RequestError::SlowBody(patience)))
    }

    async fn of(mut parts: Multipart, limit: usize) -> Result<Form, RequestError> {
        let malformed = |error: &dyn std::fmt::Display| {
            RequestError::Malformed(format!("the form cannot be read: {error}"))
        };
        let mut form = Form::default();
        let mut total = 0;
        while let Some(part) = parts.next().await {
            let mut part = part.map_err(|error| malformed(&error))?;
            let name = part.name().unwrap_or_default().to_owned();
            let mut content = Vec::new();
            while let Some(chunk) = part.next().await {
                let chunk = chunk.map_err(|error| malformed(&error))?;
                total += chunk.len();
                if total > limit {
                    return Err(RequestError::TooLarge { limit });
                }
                content.extend_from_slice(&chunk);
            }
            match &name[..] {
                "min_confidence" => {
                    let text = content.get(..VALUE.min(content.len())).unwrap_or_default();
                    let number =
                        std::str::from_utf8(text).ok().and_then(|text| text.trim().parse().ok());
                    form.least_confidence = number
                        .filter(|number| (0.0..=1.0).contains(number))
                        .ok_or_else(|| malformed(&"min_confidence is not a number from 0 to 1"))?;
                }
                _ if form.picture.is_none() => form.picture = Some(content),
                _ => {}
            }
        }
        Ok(form)
    }

    fn picture(self) -> Result<Vec<u8>, RequestError> {
        let what = "there is no picture: send a png or jpeg file as the body, or in a form";
        let picture = self.picture.filter(|picture| !picture.is_empty());
        picture.ok_or_else(|| RequestError::Malformed(what.to_owned()))
    }
}
