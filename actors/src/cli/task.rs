//! What is made of answers: classes, boxes, or nothing.

use std::path::PathBuf;

use clap::Args;
use edgeld::Answer;
use edgeld::input::{Fit, Framing, read_labels};
use edgeld::task::{Head, Interpreter, Limits, Meaning, Task, TaskOptions, draw};
use edgeld_runtime::models::Model;

use super::args::{PictureArgs, part};
use super::events::Frame;
use super::exit::Exit;
use super::workload::FrameInputs;

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

/// Makes something of answers, and draws it.
pub struct Reader {
    interpreter: Interpreter,
    draw: Option<PathBuf>,
    /// Whether each frame is drawn into a file of its own.
    is_numbered: bool,
}

impl TaskArgs {
    /// What will make something of a model's answers to so many frames, and how pictures become its
    /// input.
    ///
    /// # Errors
    /// When the model cannot do what is asked, or the labels cannot be read.
    pub fn reader(
        &self,
        model: &Model,
        pictures: &PictureArgs,
        frames: usize,
    ) -> Result<(Reader, Framing), Exit> {
        let limits = Limits {
            score: self.threshold as f32,
            overlap: self.overlap as f32,
            ..Limits::default()
        };
        let labels = pictures.labels.as_deref().map(read_labels).transpose()?;
        let options = TaskOptions { task: self.task, head: self.head, limits, labels };
        let interpreter = Interpreter::new(model, options).map_err(|error| {
            Exit::refused(error, "say which one it is with --head, or use --task raw")
        })?;
        let task = interpreter.task();
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
        let framing = pictures.framing(match task {
            Task::Detect => interpreter.framing(),
            Task::Raw | Task::Classify => {
                Framing { fit: Fit::Crop(pictures.crop), ..Framing::default() }
            }
        });
        let (draw, is_numbered) = (self.draw.clone(), frames > 1);
        Ok((Reader { interpreter, draw, is_numbered }, framing))
    }
}

impl Reader {
    /// Names of the classes.
    pub fn labels(&self) -> &[String] {
        self.interpreter.labels()
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
        let picture = frame.pictures.first();
        let placement = picture.map(|(_, placement)| placement);
        let meaning = self
            .interpreter
            .meaning(answer, placement)
            .map_err(|error| Exit::refused(error, "leave --head out, or use --task raw"))?;
        let (Some(to), Meaning::Objects(found)) = (&self.draw, &meaning) else {
            return Ok(meaning);
        };
        let Some((path, _)) = picture else {
            let what = format!("--draw: {} is not a picture", frame.name);
            return Err(Exit::usage(what, "give a png or jpeg file as input, or leave --draw out"));
        };
        let to = if self.is_numbered { numbered(to, number) } else { to.clone() };
        draw(path, found, self.labels(), &to).map_err(|error| {
            Exit::failed(error, "choose a .png or .jpg file that can be written with --draw")
        })?;
        Ok(meaning)
    }

    /// Adds what an answer means to the event of its frame.
    pub fn tell<'a>(&'a self, meaning: &Meaning, event: &mut Frame<'a>) {
        let interpreter = &self.interpreter;
        match meaning {
            Meaning::Raw => {}
            Meaning::Classes(classes) => {
                let named = classes.iter().map(|class| interpreter.name_class(class));
                event.classes = Some(named.collect());
            }
            Meaning::Objects(found) => {
                let named = found.iter().map(|object| interpreter.name_object(object));
                event.detections = Some(named.collect());
            }
        }
    }
}

/// The file of one of several frames.
fn numbered(path: &std::path::Path, number: u64) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let ending = path.extension().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{stem}-{number}.{ending}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_of_several_frames_is_drawn_into_its_own_file() {
        assert_eq!(numbered("a/out.png".as_ref(), 3), PathBuf::from("a/out-3.png"));
    }
}
