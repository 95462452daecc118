//! What a model's task says about its pictures and its answers, settled once when it is opened.

use edgeld_runtime::graph::Shape;
use edgeld_runtime::models::Model;
use serde::Serialize;

use super::bounds::{Detection, Limits};
use super::classes::{Class, classes};
use super::head::{Head, HeadError};
use super::hints::{Hints, Task};
use crate::api::Answer;
use crate::input::{Fit, Framing, Placement, picture_shape};

/// How many classes a picture is given.
const CLASSES: usize = 5;

/// What is asked of a model, beyond what its file says of itself.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TaskOptions {
    /// What is to be found out; without it what the file says, or nothing.
    pub task: Option<Task>,
    /// The form of a detector's outputs; without it what the file or their dimensions say.
    pub head: Option<Head>,
    /// Which objects a detector keeps.
    pub limits: Limits,
    /// Names of the classes; without them those in the file.
    pub labels: Option<Vec<String>>,
}

/// Makes something of a model's answers.
#[derive(Debug, Clone)]
pub struct Interpreter {
    /// The form of a detector's outputs, or the task without one.
    form: Form,
    /// Width and height of the model's input.
    input: [u32; 2],
    limits: Limits,
    labels: Vec<String>,
}

#[derive(Debug, Clone, Copy)]
enum Form {
    Raw,
    Classify,
    Detect(Head),
}

/// What an answer means.
#[derive(Debug, Clone, PartialEq)]
pub enum Meaning {
    /// No more than its outputs.
    Raw,
    /// The most probable classes, the most probable one first.
    Classes(Vec<Class>),
    /// The objects in the picture, the surest one first.
    Objects(Vec<Detection>),
}

impl Interpreter {
    /// For a model and what is asked of it.
    ///
    /// # Errors
    /// When a detector's outputs have no form that is known.
    pub fn new(model: &Model, options: TaskOptions) -> Result<Interpreter, HeadError> {
        let hints = Hints::of(&model.metadata);
        let TaskOptions { task, head, limits, labels } = options;
        let asked = task.or(head.or(hints.head).map(|_| Task::Detect));
        let graph = &model.graph;
        let input = graph.inputs().first().map(|port| {
            let shape = graph.shape(port.tensor);
            picture_shape(port, shape).unwrap_or(shape)
        });
        let input = input.unwrap_or(Shape::vector(1));
        let input = [input.width, input.rows];
        let form = match asked.or(hints.task).unwrap_or(Task::Raw) {
            Task::Raw => Form::Raw,
            Task::Classify => Form::Classify,
            Task::Detect => Form::Detect(match head.or(hints.head) {
                Some(head) => head,
                None => {
                    let outputs = graph.outputs().iter();
                    let dims: Vec<&[u64]> = outputs.map(|output| &output.dims[..]).collect();
                    Head::of(&dims, input)?
                }
            }),
        };
        Ok(Interpreter { form, input, limits, labels: labels.unwrap_or(hints.labels) })
    }

    /// What is found out.
    pub fn task(&self) -> Task {
        match self.form {
            Form::Raw => Task::Raw,
            Form::Classify => Task::Classify,
            Form::Detect(_) => Task::Detect,
        }
    }

    /// Names of the classes.
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// How pictures become the model's input.
    pub fn framing(&self) -> Framing {
        match self.form {
            Form::Detect(head) => head.framing(),
            Form::Raw | Form::Classify => Framing::default(),
        }
    }

    /// What an answer means. Objects lie in the picture that was placed in the model's input;
    /// without one, in the input.
    ///
    /// # Errors
    /// When the outputs have another form than the detector's.
    pub fn meaning(
        &self,
        answer: &Answer,
        placement: Option<&Placement>,
    ) -> Result<Meaning, HeadError> {
        match self.form {
            Form::Raw => Ok(Meaning::Raw),
            Form::Classify => {
                let first = answer.outputs.first();
                Ok(Meaning::Classes(
                    first.map(|output| classes(output, CLASSES)).unwrap_or_default(),
                ))
            }
            Form::Detect(head) => {
                let whole = Fit::Stretch.place(self.input, self.input);
                let placement = placement.unwrap_or(&whole);
                let found = head.detect(&answer.outputs, self.input, placement, self.limits)?;
                Ok(Meaning::Objects(found))
            }
        }
    }

    /// A class with its name.
    pub fn name_class(&self, class: &Class) -> NamedClass<'_> {
        NamedClass {
            index: class.index,
            label: self.label(class.index),
            probability: class.probability,
        }
    }

    /// An object with the name of its class.
    pub fn name_object(&self, object: &Detection) -> NamedObject<'_> {
        let Detection { class, score, bounds } = *object;
        let bounds = [bounds.left, bounds.top, bounds.right, bounds.bottom];
        NamedObject { class, label: self.label(class), score, bounds }
    }

    fn label(&self, class: usize) -> Option<&str> {
        self.labels.get(class).map(String::as_str)
    }
}

/// A class that a picture may show, with its name.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NamedClass<'a> {
    /// Its index.
    pub index: usize,
    /// Its name, if it has one.
    pub label: Option<&'a str>,
    /// From 0 to 1.
    pub probability: f32,
}

/// An object that was found in a picture, with the name of its class.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NamedObject<'a> {
    /// The index of its class.
    pub class: usize,
    /// The name of its class, if it has one.
    pub label: Option<&'a str>,
    /// How sure the model is, from 0 to 1.
    pub score: f32,
    /// Left, top, right and bottom, in pixels of the picture.
    #[serde(rename = "box")]
    pub bounds: [f32; 4],
}
