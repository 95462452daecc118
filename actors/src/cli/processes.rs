//! Worker processes of the demo: started, slowed down, killed, and never left behind.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use edgeld::Pace;

use super::exit::Exit;

/// A slowed process runs this long in every [`PERIOD`]: about a third of what its pace allows, so
/// that another plan pays wherever the machine stands, and long enough for its heartbeats.
const AWAKE: Duration = Duration::from_millis(1);
/// One turn of running and standing still.
const PERIOD: Duration = Duration::from_millis(40);

/// The workers of one demo, with homes of their own in a temporary directory.
pub struct Workers {
    folder: PathBuf,
    cluster: String,
    pace: Pace,
    running: Vec<WorkerProcess>,
}

/// A worker in a process of its own; killed when dropped.
struct WorkerProcess {
    name: &'static str,
    child: Child,
    slowdown: Option<Slowdown>,
}

impl Workers {
    /// No workers yet, of this cluster and at this pace; `folder` is theirs.
    pub fn new(folder: &Path, cluster: &str, pace: Pace) -> Workers {
        let (folder, cluster) = (folder.to_owned(), cluster.to_owned());
        Workers { folder, cluster, pace, running: Vec::new() }
    }

    /// Starts one more on a free port of the loopback interface, on one thread.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(&mut self, name: &'static str) -> Result<(), Exit> {
        let failed = |error: std::io::Error| {
            Exit::failed(
                format_args!("worker {name} cannot be started: {error}"),
                "may this program start processes, and write to the temporary directory?",
            )
        };
        let log = File::create(self.log(name)).map_err(failed)?;
        let mut command = Command::new(std::env::current_exe().map_err(failed)?);
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("EDGELD_") {
                command.env_remove(variable);
            }
        }
        command
            .args(["worker", "--listen", "127.0.0.1:0", "--threads", "1"])
            .args(["--name", name, "--cluster", &self.cluster])
            .args(["--pace", &self.pace.to_string()])
            .env("EDGELD_HOME", self.folder.join(name))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        die_with_parent(&mut command);
        let child = command.spawn().map_err(failed)?;
        self.running.push(WorkerProcess { name, child, slowdown: None });
        Ok(())
    }

    /// Lets a worker run for one millisecond in twenty.
    ///
    /// # Errors
    /// When it does not run, or this system cannot stop processes.
    pub fn slow_down(&mut self, name: &str) -> Result<(), Exit> {
        let worker = self.running.iter_mut().find(|worker| worker.name == name);
        let worker = worker.ok_or_else(|| gone(name))?;
        worker.slowdown = Some(Slowdown::start(worker.child.id())?);
        Ok(())
    }

    /// Ends a worker without warning.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&mut self, name: &str) -> Result<(), Exit> {
        let index = self.running.iter().position(|worker| worker.name == name);
        let worker = index.map(|index| self.running.remove(index));
        worker.map(drop).ok_or_else(|| gone(name))
    }

    /// What a worker that ended by itself said before, if one did.
    pub fn last_words(&mut self) -> Option<String> {
        let folder = &self.folder;
        self.running.iter_mut().find_map(|worker| {
            let status = worker.child.try_wait().ok()??;
            let log = std::fs::read_to_string(folder.join(format!("{}.log", worker.name)));
            Some(format!("worker {} ended ({status}): {}", worker.name, log.unwrap_or_default()))
        })
    }

    fn log(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.log"))
    }
}

fn gone(name: &str) -> Exit {
    Exit::failed(format_args!("worker {name} does not run"), "start the demo again")
}

impl Drop for WorkerProcess {
    fn drop(&mut self) {
        // First, so that no signal goes to a number that another process may have by then.
        self.slowdown = None;
        // Where it has ended already there is nothing to kill and nothing to wait for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A thread that stops and continues a process by turns, until it is dropped.
struct Slowdown {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Slowdown {
    #[cfg(unix)]
    fn start(process: u32) -> Result<Slowdown, Exit> {
        let over = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&over);
        let turns = move || {
            while !until.load(Ordering::Relaxed) {
                signal(process, libc::SIGSTOP);
                std::thread::sleep(PERIOD - AWAKE);
                signal(process, libc::SIGCONT);
                std::thread::sleep(AWAKE);
            }
        };
        let thread = std::thread::Builder::new().name("slowdown".into()).spawn(turns);
        let thread = thread.map_err(|error| {
            Exit::failed(format_args!("no thread: {error}"), "close some programs")
        })?;
        Ok(Slowdown { over, thread: Some(thread) })
    }

    #[cfg(not(unix))]
    fn start(_: u32) -> Result<Slowdown, Exit> {
        Err(Exit::failed(
            "this system cannot make a process run by turns",
            "run the demo on Linux or macOS",
        ))
    }
}

impl Drop for Slowdown {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It does not panic; if it did, there is nothing left to slow down.
            let _ = thread.join();
        }
    }
}

#[cfg(unix)]
fn signal(process: u32, signal: libc::c_int) {
    // SAFETY: kill takes plain numbers. The process is a child that has not been waited for, so
    // its number is its own.
    unsafe { libc::kill(process as libc::pid_t, signal) };
}

/// On Linux a worker is killed by the system when the demo is, however that ends.
#[cfg(target_os = "linux")]
fn die_with_parent(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    let parent = std::process::id();
    // SAFETY: between fork and exec only system calls are made: prctl and getppid.
    unsafe {
        command.pre_exec(move || {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
                return Err(std::io::Error::last_os_error());
            }
            // The demo may have died before it was asked for.
            match libc::getppid() as u32 == parent {
                true => Ok(()),
                false => Err(std::io::ErrorKind::Interrupted.into()),
            }
        });
    }
}

#[cfg(not(target_os = "linux"))]
fn die_with_parent(_: &mut Command) {}
