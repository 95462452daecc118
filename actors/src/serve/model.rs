//! A model that is served: requests in the protocol's terms in, answers in its terms out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use edgeld_runtime::graph::{Port, Shape};
use edgeld_runtime::models;
use edgeld_runtime::program::Encoding;
use serde::Serialize;
use tokio::sync::Semaphore;

use super::datatype::{FLOAT32, TEXT, float_bytes, text_bytes};
use super::error::RequestError;
use super::feed::{Feed, Happened};
use super::metrics::Metrics;
use super::queue::{Queue, Refused, Turn};
use crate::api::{Answer, InferError, Input, Output, Source};
use crate::cluster::Model;
use crate::input::{
    Placement, channels_last, decode_picture, normalised, picture_shape, takes_channels_last,
};
use crate::task::{HeadError, Interpreter, Meaning, Task, TaskOptions, classes};

/// How many pictures are decoded at once for a model.
const DECODERS: usize = 2;

/// A model to serve.
#[derive(Debug, Clone)]
pub struct Specification {
    /// What requests call it.
    pub name: String,
    /// The model.
    pub model: models::Model,
    /// How it wants pixels normalised; without it as its file says.
    pub pixels: Option<Encoding>,
    /// What is made of its answers to pictures.
    pub task: TaskOptions,
}

impl Specification {
    /// A model with what its file says of itself.
    pub fn new(name: impl Into<String>, model: models::Model) -> Specification {
        let (pixels, task) = (None, TaskOptions::default());
        Specification { name: name.into(), model, pixels, task }
    }

    /// What is loaded. Requests bring float32, so pictures are normalised here.
    pub(super) fn source(&self) -> Source {
        let models::Model { graph, weights, .. } = self.model.clone();
        let encodings = vec![Encoding::F32; graph.inputs().len()];
        Source { graph, weights, encodings }
    }
}

/// A model that is served.
pub(super) struct Served {
    pub(super) name: String,
    pub(super) model: Model,
    pub(super) queue: Arc<Queue>,
    patience: Duration,
    /// For the task that the model says it has.
    reader: Interpreter,
    /// For pictures that are to be classified whatever it says.
    classifier: Interpreter,
    detector: Result<Interpreter, HeadError>,
    pixels: Option<Encoding>,
    /// How many pictures are decoded at once.
    decoding: Semaphore,
    metrics: Arc<Metrics>,
    feed: Arc<Feed>,
}

/// A tensor as a request has it.
#[derive(Debug)]
pub(super) struct Tensor {
    pub(super) name: String,
    pub(super) dims: Vec<u64>,
    pub(super) data: Vec<f32>,
}

/// An output that a request asks for.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) name: String,
    /// So many classes instead of the elements, if not 0.
    pub(super) classes: usize,
}

/// An output as a response has it.
#[derive(Debug)]
pub(super) struct Given {
    pub(super) name: String,
    pub(super) dims: Vec<u64>,
    pub(super) elements: Elements,
}

/// The elements of an output; in JSON a list of them.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Elements {
    Floats(Vec<f32>),
    /// Classes as `score:index:label`.
    Texts(Vec<String>),
}

impl Elements {
    pub(super) fn datatype(&self) -> &'static str {
        match self {
            Elements::Floats(_) => FLOAT32,
            Elements::Texts(_) => TEXT,
        }
    }

    /// As the protocol's binary form has them.
    pub(super) fn bytes(&self) -> Vec<u8> {
        match self {
            Elements::Floats(floats) => float_bytes(floats),
            Elements::Texts(texts) => text_bytes(texts),
        }
    }
}

/// What a picture is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Question {
    /// What it shows.
    Classify,
    /// What is where in it.
    Detect,
}

/// What was found in a picture.
pub(super) struct Found<'a> {
    pub(super) interpreter: &'a Interpreter,
    pub(super) meaning: Meaning,
    pub(super) answer: Answer,
}

impl Served {
    /// # Errors
    /// When the model is a detector whose form is not known.
    pub(super) fn new(
        specification: Specification,
        model: Model,
        limits: (usize, Duration),
        metrics: Arc<Metrics>,
        feed: Arc<Feed>,
    ) -> Result<Served, HeadError> {
        let Specification { name, model: opened, pixels, task } = specification;
        let reader = Interpreter::new(&opened, task.clone())?;
        let asked = |task_of: Task| {
            let head = task.head.filter(|_| task_of == Task::Detect);
            Interpreter::new(&opened, TaskOptions { task: Some(task_of), head, ..task.clone() })
        };
        Ok(Served {
            name,
            model,
            queue: Queue::new(limits.0),
            patience: limits.1,
            reader,
            classifier: asked(Task::Classify)?,
            detector: asked(Task::Detect),
            pixels: pixels.or(opened.preset.map(models::Preset::encoding)),
            decoding: Semaphore::new(DECODERS),
            metrics,
            feed,
        })
    }

    /// What the model says it is for.
    pub(super) fn task(&self) -> Task {
        self.reader.task()
    }

    pub(super) fn inputs(&self) -> &[Port] {
        self.model.graph().inputs()
    }

    pub(super) fn outputs(&self) -> &[Port] {
        self.model.graph().outputs()
    }

    /// Whether it takes a picture.
    pub(super) fn picture(&self) -> Option<Shape> {
        let [port] = self.inputs() else { return None };
        picture_shape(port, self.model.graph().shape(port.tensor))
    }

    /// Whether a request that came now could wait, or run at once: what is refused anyway is refused
    /// before its body is read.
    pub(super) fn has_room(&self) -> Result<(), RequestError> {
        self.queue.has_room(self.width()).map_err(|refused| self.refusal(refused, self.patience))
    }

    /// Answers to tensors: those outputs that are wanted, or all of them.
    pub(super) async fn infer(
        &self,
        tensors: Vec<Tensor>,
        wanted: &[Wanted],
        patience: Option<Duration>,
    ) -> Result<Vec<Given>, RequestError> {
        let inputs = self.in_order(tensors)?;
        let selected = self.selected(wanted)?;
        let answer = self.answer(inputs, patience).await?;
        let mut outputs: Vec<Option<Output>> = answer.outputs.into_iter().map(Some).collect();
        let mut given = Vec::with_capacity(selected.len());
        for (index, classes) in selected {
            // Indices were found in the model's outputs, each once.
            if let Some(output) = outputs.get_mut(index).and_then(Option::take) {
                given.push(self.give(output, classes));
            }
        }
        Ok(given)
    }

    /// Answers to a picture, png or jpeg.
    pub(super) async fn look(
        &self,
        question: Question,
        picture: Vec<u8>,
    ) -> Result<Found<'_>, RequestError> {
        let interpreter = match question {
            Question::Classify if self.task() == Task::Classify => &self.reader,
            Question::Classify => &self.classifier,
            Question::Detect => match &self.detector {
                Ok(detector) => detector,
                Err(error) => return Err(RequestError::Task(error.clone())),
            },
        };
        let (input, placement) = self.prepared(picture, interpreter).await?;
        let answer = self.answer(vec![input], None).await?;
        let meaning = interpreter.meaning(&answer, Some(&placement))?;
        Ok(Found { interpreter, meaning, answer })
    }

    async fn prepared(
        &self,
        picture: Vec<u8>,
        interpreter: &Interpreter,
    ) -> Result<(Input, Placement), RequestError> {
        let malformed = |what: &str| RequestError::Malformed(format!("{}: {what}", self.name));
        let shape = self.picture().ok_or_else(|| malformed("it takes no pictures"))?;
        let pixels = self.pixels.ok_or_else(|| {
            malformed(
                "it does not say how pixels are normalised; serve it with preset=imagenet, lite, \
                 unit or none",
            )
        })?;
        let framing = interpreter.framing();
        let decode = move || {
            let (planes, placement) =
                decode_picture("the picture".as_ref(), &picture, shape, framing)?;
            Ok((normalised(Input::from(planes), pixels), placement))
        };
        // A picture takes much more memory than its file. The semaphore is never closed.
        let _permit = self.decoding.acquire().await;
        let decoded = tokio::task::spawn_blocking(decode).await;
        let (input, placement) =
            decoded.unwrap_or_else(|_| Err(malformed("the picture cannot be decoded")))?;
        let is_turned = self.inputs().first().is_some_and(takes_channels_last);
        Ok((if is_turned { channels_last(input) } else { input }, placement))
    }

    /// Waits for a turn, then for the answer.
    async fn answer(
        &self,
        inputs: Vec<Input>,
        patience: Option<Duration>,
    ) -> Result<Answer, RequestError> {
        let (arrived, patience) = (Instant::now(), patience.unwrap_or(self.patience));
        let turn = self.turn(patience.min(self.patience)).await;
        let waited = arrived.elapsed();
        let answer = match turn {
            Ok(turn) => {
                let model = self.model.clone();
                // Once begun, a frame runs to its end, and its turn with it, even if nobody waits.
                let run = tokio::spawn(async move {
                    let answer = model.infer(&inputs).await;
                    match answer {
                        Ok(_) => turn.answered(),
                        Err(_) => drop(turn),
                    }
                    answer
                });
                let answer = run.await.unwrap_or(Err(InferError::Closed));
                answer.map_err(RequestError::Failed)
            }
            Err(error) => Err(error),
        };
        if let Ok(answer) = &answer {
            self.answered(answer, waited, arrived.elapsed());
        }
        answer
    }

    /// Counts an answer, and tells listeners of it.
    fn answered(&self, answer: &Answer, waited: Duration, took: Duration) {
        let plans = self.model.plans();
        let plan = plans.iter().find(|plan| plan.generation == answer.generation);
        let predicted = plan.map(|plan| plan.predicted);
        self.metrics.answered(&self.name, answer, predicted, [waited, took]);
        self.feed.tell(&Happened::Frame {
            model: &self.name,
            generation: answer.generation.0,
            retries: answer.retries,
            request_ms: took.as_secs_f64() * 1e3,
            total_ms: answer.total,
            waiting: self.queue.lengths().0,
        });
    }

    async fn turn(&self, patience: Duration) -> Result<Turn, RequestError> {
        let turn = self.queue.turn(self.width(), patience).await;
        turn.map_err(|refused| self.refusal(refused, patience))
    }

    fn refusal(&self, refused: Refused, patience: Duration) -> RequestError {
        match refused {
            Refused::Full { waiting, after } => {
                RequestError::Full { model: self.name.clone(), waiting, after }
            }
            Refused::Late => RequestError::Late { model: self.name.clone(), waited: patience },
            Refused::Closed => RequestError::Stopping,
        }
    }

    /// How many frames the plans carry at once, and one more that is there when one is done.
    fn width(&self) -> usize {
        let plans = self.model.plans();
        1 + plans.iter().map(|plan| plan.in_flight.frames() as usize).sum::<usize>()
    }

    /// A request's tensors in the order of the model's inputs.
    fn in_order(&self, mut tensors: Vec<Tensor>) -> Result<Vec<Input>, RequestError> {
        let ports = self.inputs();
        let malformed = |what: String| RequestError::Malformed(format!("{}: {what}", self.name));
        let mut inputs = Vec::with_capacity(ports.len());
        for port in ports {
            let found = tensors.iter().position(|tensor| tensor.name == port.name);
            let Some(found) = found else {
                let names: Vec<&str> = ports.iter().map(|port| &port.name[..]).collect();
                let (name, all) = (&port.name, names.join(", "));
                return Err(malformed(format!("input {name:?} is missing; it takes {all}")));
            };
            let Tensor { name, dims, data } = tensors.swap_remove(found);
            if dims != port.dims {
                let wanted = &port.dims;
                return Err(malformed(format!(
                    "input {name:?} has shape {dims:?}, the model takes {wanted:?}"
                )));
            }
            let wanted: u64 = dims.iter().product();
            if data.len() as u64 != wanted {
                let found = data.len();
                return Err(malformed(format!(
                    "input {name:?} has {found} elements, its shape {dims:?} has {wanted}"
                )));
            }
            inputs.push(Input::from(data));
        }
        match tensors.first() {
            None => Ok(inputs),
            Some(spare) => {
                Err(malformed(format!("there is no input {:?}, or it is given twice", spare.name)))
            }
        }
    }

    /// Which outputs are wanted, and as how many classes.
    fn selected(&self, wanted: &[Wanted]) -> Result<Vec<(usize, usize)>, RequestError> {
        let outputs = self.outputs();
        if wanted.is_empty() {
            return Ok((0..outputs.len()).map(|index| (index, 0)).collect());
        }
        let mut selected: Vec<(usize, usize)> = Vec::with_capacity(wanted.len());
        for Wanted { name, classes } in wanted {
            let index = outputs.iter().position(|output| output.name == *name);
            match index.filter(|index| selected.iter().all(|(other, _)| other != index)) {
                Some(index) => selected.push((index, *classes)),
                None => {
                    let model = &self.name;
                    return Err(RequestError::Malformed(format!(
                        "{model}: there is no output {name:?}, or it is asked for twice"
                    )));
                }
            }
        }
        Ok(selected)
    }

    fn give(&self, output: Output, count: usize) -> Given {
        if count == 0 {
            let Output { name, dims, data } = output;
            return Given { name, dims, elements: Elements::Floats(data) };
        }
        let text = |class: &crate::task::Class| {
            let score = output.data[class.index];
            match self.reader.name_class(class).label {
                Some(label) => format!("{score}:{}:{label}", class.index),
                None => format!("{score}:{}", class.index),
            }
        };
        let texts: Vec<String> = classes(&output, count).iter().map(text).collect();
        let mut dims = output.dims.clone();
        // A batch of one stays one.
        dims.truncate(usize::from(dims.first() == Some(&1)));
        dims.push(texts.len() as u64);
        Given { name: output.name, dims, elements: Elements::Texts(texts) }
    }
}
