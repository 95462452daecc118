//! What is made of answers: classes, boxes, or nothing.

use std::path::PathBuf;

use clap::Args;
use edgeld::Answer;
use edgeld::input::{Fit, Framing, picture_shape, read_labels};
use edgeld::task::{Class, Detection, Head, Hints, Limits, Task, classes, draw};
use edgeld_runtime::graph::Shape;
use edgeld_runtime::models::Model;

use super::args::{PictureArgs, part};
use super::events::{self, Frame};
use super::exit::Exit;
use super::workload::FrameInputs;

/// How many classes are shown.
const CLASSES: usize = 5;

/// What is to be found out about pictures.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Task")]
pub struct TaskArgs {
    /// classify: the most probable classes. detect: objects and where they are in the picture.
    /// raw: the outputs as they are [default: what the model says, else raw].
    #[arg(long, env = "EDGELD_TASK", value_name = "TASK")]
    task: Option<Task>,
    /// The form of a detector's outputs: yolov3, yolov5, yolov8 (9, 11 and 12 have the same),
    /// yolov10, yolox or ssd [default: what the model or its outputs' dimensions say].
    #[arg(long, env = "EDGELD_HEAD", value_name = "FORM")]
    head: Option<Head>,
    /// How sure a detector must be of an object.
    #[arg(long, env = "EDGELD_THRESHOLD", value_name = "PART", default_value = "0.25",
        value_parser = part)]
    threshold: f64,
    /// How much two boxes of one class may overlap.
    #[arg(long, env = "EDGELD_OVERLAP", value_name = "PART", default_value = "0.45",
        value_parser = part)]
    overlap: f64,
    /// Write the picture with its boxes to this file, png or jpeg; of several frames each to one
    /// of its own, out-0.png and so on.
    #[arg(long, env = "EDGELD_DRAW", value_name = "FILE")]
    draw: Option<PathBuf>,
}

/// Makes something of answers.
pub struct Interpreter {
    task: Task,
    head: Option<Head>,
    /// Width and height of the model's input.
    input: [u32; 2],
    limits: Limits,
    labels: Vec<String>,
    draw: Option<PathBuf>,
    /// Whether each frame is drawn into a file of its own.
    is_numbered: bool,
}

/// What was made of an answer.
#[derive(Debug, Default)]
pub struct Meaning {
    classes: Option<Vec<Class>>,
    detections: Option<Vec<Detection>>,
}

impl TaskArgs {
    /// What will make something of a model's answers to so many frames, and how pictures become its
    /// input.
    ///
    /// # Errors
    /// When the model cannot do what is asked, or the labels cannot be read.
    pub fn interpreter(
        &self,
        model: &Model,
        pictures: &PictureArgs,
        frames: usize,
    ) -> Result<(Interpreter, Framing), Exit> {
        let hints = Hints::of(&model.metadata);
        let asked = self.task.or(self.head.or(hints.head).map(|_| Task::Detect));
        let task = asked.or(hints.task).unwrap_or(Task::Raw);
        let graph = &model.graph;
        let input = graph.inputs().first().map(|port| {
            let shape = graph.shape(port.tensor);
            picture_shape(port, shape).unwrap_or(shape)
        });
        let input = input.unwrap_or(Shape::vector(1));
        let input = [input.width, input.rows];
        let head = match task {
            Task::Detect => Some(self.head_of(model, &hints, input)?),
            Task::Raw | Task::Classify => None,
        };
        if let Some(file) = &self.draw {
            let ending = file.extension().unwrap_or_default().to_ascii_lowercase();
            if task != Task::Detect {
                return Err(Exit::usage(
                    "--draw draws what --task detect finds",
                    "add --task detect",
                ));
            }
            if !["png", "jpg", "jpeg"].iter().any(|known| ending == *known) {
                let what = format!("--draw {}: not a png or jpeg file", file.display());
                return Err(Exit::usage(what, "end its name with .png or .jpg"));
            }
        }
        if self.head.is_some() && task != Task::Detect {
            let what = "--head says how --task detect reads outputs";
            return Err(Exit::usage(what, "add --task detect, or leave --head out"));
        }
        let labels = match &pictures.labels {
            Some(file) => read_labels(file)?,
            None => hints.labels,
        };
        let limits = Limits {
            score: self.threshold as f32,
            overlap: self.overlap as f32,
            ..Limits::default()
        };
        let standard = Framing { fit: Fit::Crop(pictures.crop), ..Framing::default() };
        let framing = pictures.framing(head.map_or(standard, Head::framing));
        let (draw, is_numbered) = (self.draw.clone(), frames > 1);
        Ok((Interpreter { task, head, input, limits, labels, draw, is_numbered }, framing))
    }

    fn head_of(&self, model: &Model, hints: &Hints, input: [u32; 2]) -> Result<Head, Exit> {
        let dims: Vec<&[u64]> =
            model.graph.outputs().iter().map(|output| output.dims.as_slice()).collect();
        match self.head.or(hints.head) {
            Some(head) => Ok(head),
            None => Head::of(&dims, input).map_err(|error| {
                Exit::refused(error, "say which one it is with --head, or use --task raw")
            }),
        }
    }
}

impl Interpreter {
    /// Names of the classes.
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// What an answer to a frame means; the frame's number is for the file that is drawn.
    ///
    /// # Errors
    /// When the outputs have another form than a detector's, or cannot be drawn.
    pub fn meaning(
        &self,
        number: u64,
        frame: &FrameInputs,
        answer: &Answer,
    ) -> Result<Meaning, Exit> {
        if self.task == Task::Classify {
            let output = answer.outputs.first();
            let classes = output.map(|output| classes(output, CLASSES));
            return Ok(Meaning { classes, ..Meaning::default() });
        }
        let Some(head) = self.head else { return Ok(Meaning::default()) };
        // Without a picture, boxes are in pixels of the input.
        let picture = frame.pictures.first();
        let whole = || Fit::Stretch.place(self.input, self.input);
        let placement = picture.map_or_else(whole, |(_, placement)| *placement);
        let found = head
            .detect(&answer.outputs, self.input, &placement, self.limits)
            .map_err(|error| Exit::refused(error, "leave --head out, or use --task raw"))?;
        if self.draw.is_some() && picture.is_none() {
            let what = format!("--draw: {} is not a picture", frame.name);
            return Err(Exit::usage(what, "give a png or jpeg file as input, or leave --draw out"));
        }
        if let (Some(to), Some((path, _))) = (&self.draw, picture) {
            let to = if self.is_numbered { numbered(to, number) } else { to.clone() };
            draw(path, &found, &self.labels, &to).map_err(|error| {
                Exit::failed(error, "choose a .png or .jpg file that can be written with --draw")
            })?;
        }
        Ok(Meaning { detections: Some(found), ..Meaning::default() })
    }
}

/// The file of one of several frames.
fn numbered(path: &std::path::Path, number: u64) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let ending = path.extension().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{stem}-{number}.{ending}"))
}

impl Meaning {
    /// Adds it to the event of its frame.
    pub fn tell<'a>(&self, event: &mut Frame<'a>, labels: &'a [String]) {
        let label = |class: usize| labels.get(class).map(String::as_str);
        let class = |class: &Class| events::Class {
            index: class.index,
            label: label(class.index),
            probability: class.probability,
        };
        let object = |one: &Detection| events::Object {
            class: one.class,
            label: label(one.class),
            score: one.score,
            bounds: [one.bounds.left, one.bounds.top, one.bounds.right, one.bounds.bottom],
        };
        event.classes = self.classes.as_ref().map(|classes| classes.iter().map(class).collect());
        event.detections =
            self.detections.as_ref().map(|detections| detections.iter().map(object).collect());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_of_several_frames_is_drawn_into_its_own_file() {
        assert_eq!(numbered("a/out.png".as_ref(), 3), PathBuf::from("a/out-3.png"));
    }
}
