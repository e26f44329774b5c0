// SPDX-License-Identifier: GPL-2.0-only
//! Running one QEMU: its console read line by line, its time limited, its end certain.
//!
//! No way out of this module leaves a QEMU behind. A run that times out, is told to stop, or fails half
//! way kills its process by [`Drop`]. Should the runner itself be killed, the kernel does it: QEMU is
//! started by `setpriv --pdeathsig KILL`, which becomes QEMU. That signal is tied to the *thread* that
//! started it, so a run is waited for by the thread that began it, as [`run`] does.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::firmware::{Correction, Patience, QemusEnd, debugger_link};
use crate::machine::{Machine, Serial};
use crate::verdict::Ending;

/// How often a waiting run looks whether it should stop.
const POLL: Duration = Duration::from_millis(50);
/// What a QEMU that is asked politely gets, to put the terminal back in order.
const GRACE: Duration = Duration::from_secs(2);
/// A console that says more than this has gone mad; the run is ended so that the disk does not fill.
const FLOOD_BYTES: usize = 32 << 20;

/// A person's wish that everything end: set by SIGINT, SIGTERM and SIGHUP.
#[derive(Clone, Debug, Default)]
pub struct StopWish(Arc<AtomicBool>);

impl StopWish {
    /// A wish that the process's signals express from now on.
    pub fn from_signals() -> Result<Self> {
        let wish = Self::default();
        let heard = wish.clone();
        ctrlc::set_handler(move || heard.0.store(true, Ordering::SeqCst))
            .context("cannot catch signals")?;
        Ok(wish)
    }

    pub fn is_made(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    #[cfg(test)]
    pub fn make(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// What a watcher of console lines wants next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    Continue,
    /// Something began that may take so long from now; the whole run's limit still holds.
    Within(Duration),
    /// Kill QEMU; the run ended so.
    Stop(Ending),
}

/// One process to run.
#[derive(Debug)]
pub struct Launch<'a> {
    /// Where it runs; the log's path is relative to it.
    pub root: &'a Path,
    pub program: &'a str,
    pub args: Vec<String>,
    /// The console log; QEMU's own complaints go beside it, with the ending `.qemu`.
    pub log: PathBuf,
    pub timeout: Duration,
    /// Made before Xen runs; for QEMU only.
    pub correction: Option<Correction>,
}

/// What became of a process.
#[derive(Debug)]
pub struct Finished {
    pub ending: Ending,
    pub console: String,
    /// What QEMU itself had to say.
    pub complaints: String,
    pub elapsed: Duration,
}

/// Boot a machine with its console read by the runner.
pub fn boot(
    root: &Path,
    machine: &Machine,
    log: PathBuf,
    timeout: Duration,
    stop: &StopWish,
    watch: &mut dyn FnMut(&str) -> Flow,
) -> Result<Finished> {
    let args = machine.command_line(Serial::Piped);
    run(
        &Launch {
            root,
            program: &machine.qemu,
            args,
            log,
            timeout,
            correction: machine.correction(root)?,
        },
        stop,
        watch,
    )
}

/// Run a process to its end, showing each console line to `watch`.
pub fn run(
    launch: &Launch<'_>,
    stop: &StopWish,
    watch: &mut dyn FnMut(&str) -> Flow,
) -> Result<Finished> {
    let start = Instant::now();
    let (mut log, complaints_path) = open_logs(launch)?;
    let complaints = File::create(&complaints_path)?;
    let mut command = guarded(launch);
    command
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(complaints);
    let last_deadline = start + launch.timeout;
    let patience = Patience {
        deadline: Some(last_deadline),
        stop,
    };
    let mut qemu = Qemu::start(launch, command, patience)?;
    let lines = qemu.console_lines()?;

    let mut console = String::new();
    let mut deadline = last_deadline;
    let mut cut_short = None;
    loop {
        if cut_short.is_none() {
            cut_short = if stop.is_made() {
                Some(Ending::Interrupted)
            } else if Instant::now() >= deadline {
                Some(Ending::TimedOut)
            } else {
                None
            };
            if cut_short.is_some() {
                qemu.kill()?;
            }
        }
        match lines.recv_timeout(POLL) {
            Ok(line) => {
                log.write_all(line.as_bytes())?;
                console.push_str(&line);
                // Lines still in the pipe after a kill are kept but change nothing.
                if cut_short.is_none() {
                    match watch_line(&console, &line, watch) {
                        Flow::Continue => {}
                        Flow::Within(limit) => {
                            deadline = last_deadline.min(Instant::now() + limit);
                        }
                        Flow::Stop(ending) => {
                            cut_short = Some(ending);
                            qemu.kill()?;
                        }
                    }
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    let status = qemu.wait()?;
    Ok(Finished {
        ending: cut_short.unwrap_or_else(|| ending_of(status)),
        console,
        complaints: take_complaints(&complaints_path)?,
        elapsed: start.elapsed(),
    })
}

/// Boot a machine on the person's terminal and wait for its end; the console is copied to `log`.
pub fn boot_on_terminal(
    root: &Path,
    machine: &Machine,
    log: &Path,
    stop: &StopWish,
) -> Result<Ending> {
    if let Some(folder) = root.join(log).parent() {
        fs::create_dir_all(folder)?;
    }
    let args = machine.command_line(Serial::Terminal { log });
    let launch = Launch {
        root,
        program: &machine.qemu,
        args,
        log: log.to_owned(),
        timeout: Duration::MAX,
        correction: machine.correction(root)?,
    };
    let patience = Patience {
        deadline: None,
        stop,
    };
    // In the runner's own process group, or the terminal would not let it read.
    let mut qemu = Qemu::start(&launch, guarded(&launch), patience)?;
    loop {
        if let Some(status) = qemu.0.try_wait()? {
            return Ok(ending_of(status));
        }
        if stop.is_made() {
            qemu.ask_then_kill()?;
            return Ok(Ending::Interrupted);
        }
        thread::sleep(POLL);
    }
}

fn watch_line(console: &str, line: &str, watch: &mut dyn FnMut(&str) -> Flow) -> Flow {
    if console.len() > FLOOD_BYTES {
        Flow::Stop(Ending::Flooded)
    } else {
        watch(line.trim_end())
    }
}

/// The command that becomes the program, and dies with this thread.
fn guarded(launch: &Launch<'_>) -> Command {
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL", "--", launch.program])
        .args(&launch.args)
        .current_dir(launch.root);
    command
}

fn open_logs(launch: &Launch<'_>) -> Result<(File, PathBuf)> {
    let path = launch.root.join(&launch.log);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let log = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok((log, path.with_extension("qemu")))
}

/// Read QEMU's complaints; a file without any is not worth keeping.
fn take_complaints(path: &Path) -> Result<String> {
    let complaints = worth_telling(&String::from_utf8_lossy(&fs::read(path)?));
    if complaints.is_empty() {
        fs::remove_file(path)?;
    }
    Ok(complaints)
}

/// Complaints less those about features of the CPU model that software emulation lacks: every x86 boot
/// has a screenful of them.
fn worth_telling(complaints: &str) -> String {
    let is_new = |line: &&str| !line.contains("warning: TCG doesn't support requested feature");
    complaints
        .lines()
        .filter(is_new)
        .map(|line| format!("{line}\n"))
        .collect()
}

fn ending_of(status: ExitStatus) -> Ending {
    match (status.code(), status.signal()) {
        (Some(code), _) => Ending::Exited(code),
        (None, signal) => Ending::Signalled(signal.unwrap_or_default()),
    }
}

/// A running QEMU, killed when dropped.
#[derive(Debug)]
struct Qemu(Child);

impl Qemu {
    /// Start it, and correct its machine's tables if that is asked for. Should QEMU end or patience be
    /// lost meanwhile, it is for the caller to see.
    fn start(launch: &Launch<'_>, mut command: Command, patience: Patience<'_>) -> Result<Self> {
        let Some(correction) = launch.correction else {
            return Self::spawn(launch.program, command, None);
        };
        let (link, qemus_end) = debugger_link()?;
        command.args(qemus_end.qemu_args());
        let qemu = Self::spawn(launch.program, command, Some(qemus_end))?;
        correction
            .make(link, patience)
            .with_context(|| launch.log.display().to_string())?;
        Ok(qemu)
    }

    fn spawn(program: &str, mut command: Command, inherits: Option<QemusEnd>) -> Result<Self> {
        // What one QEMU inherits must not be open in another, which would keep it open.
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let spawned = match inherits {
            Some(end) => end.inherited(|| command.spawn())?,
            None => command.spawn(),
        };
        match spawned {
            Ok(child) => Ok(Self(child)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                bail!("setpriv is not installed (Debian: util-linux); it starts {program}")
            }
            Err(error) => Err(error).with_context(|| format!("cannot start {program}")),
        }
    }

    /// Its standard output, a line at a time, each with its end.
    fn console_lines(&mut self) -> Result<Receiver<String>> {
        let stdout = self.0.stdout.take().context("QEMU's output is not piped")?;
        let (sender, receiver) = sync_channel(256);
        thread::spawn(move || send_lines(BufReader::new(stdout), &sender));
        Ok(receiver)
    }

    fn kill(&mut self) -> io::Result<()> {
        self.0.kill()
    }

    /// Let it restore the terminal first.
    fn ask_then_kill(&mut self) -> Result<()> {
        kill(Pid::from_raw(i32::try_from(self.0.id())?), Signal::SIGTERM)?;
        let deadline = Instant::now() + GRACE;
        while Instant::now() < deadline {
            if self.0.try_wait()?.is_some() {
                return Ok(());
            }
            thread::sleep(POLL);
        }
        Ok(self.kill()?)
    }

    fn wait(&mut self) -> io::Result<ExitStatus> {
        self.0.wait()
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        // Both fail only if it is gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn send_lines(mut from: impl BufRead, to: &SyncSender<String>) {
    let mut bytes = Vec::new();
    // A console without line ends must not grow one line for ever.
    while matches!(io::Read::take(&mut from, 1 << 16).read_until(b'\n', &mut bytes), Ok(count) if count > 0)
    {
        let line = String::from_utf8_lossy(&bytes).replace('\r', "");
        if to.send(line).is_err() {
            return;
        }
        bytes.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("gdma-lab-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        // As the kernel tells where a process is.
        folder.canonicalize().unwrap()
    }

    /// Run a shell script in QEMU's place.
    fn shell(
        name: &str,
        script: &str,
        timeout: Duration,
        stop: &StopWish,
        watch: &mut dyn FnMut(&str) -> Flow,
    ) -> Finished {
        let root = folder(name);
        let launch = Launch {
            root: &root,
            program: "sh",
            args: vec!["-c".into(), script.into()],
            log: "logs/x.log".into(),
            timeout,
            correction: None,
        };
        let finished = run(&launch, stop, watch).unwrap();
        assert_eq!(
            fs::read_to_string(root.join("logs/x.log")).unwrap(),
            finished.console
        );
        assert_eq!(
            root.join("logs/x.qemu").exists(),
            !finished.complaints.is_empty()
        );
        assert!(!anybody_in(&root), "a process is left");
        fs::remove_dir_all(root).unwrap();
        finished
    }

    const LONG: Duration = Duration::from_secs(60);

    /// Some process works in this folder, as all do that were started there: how far it has come since
    /// does not matter.
    fn anybody_in(folder: &Path) -> bool {
        let there = |entry: io::Result<fs::DirEntry>| {
            // Of one that has ended there is nothing to read.
            fs::read_link(entry.ok()?.path().join("cwd")).ok()
        };
        let mut all = fs::read_dir("/proc").unwrap().filter_map(there);
        all.any(|at| at == folder)
    }

    fn is_alive(pid: &str) -> bool {
        // A zombie that awaits its parent is as dead as it gets.
        fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
    }

    #[test]
    fn status_and_output_come_back() {
        let finished = shell(
            "status",
            "printf 'one\\r\\ntwo'; echo oops >&2; exit 33",
            LONG,
            &StopWish::default(),
            &mut |_| Flow::Continue,
        );
        assert_eq!(finished.ending, Ending::Exited(33));
        assert_eq!(finished.console, "one\ntwo");
        assert_eq!(finished.complaints, "oops\n");
    }

    #[test]
    fn a_signal_is_no_exit_status() {
        let finished = shell(
            "signal",
            "kill -SEGV $$",
            LONG,
            &StopWish::default(),
            &mut |_| Flow::Continue,
        );
        assert_eq!(finished.ending, Ending::Signalled(11));
    }

    #[test]
    fn time_out_kills() {
        let finished = shell(
            "timeout",
            "exec sleep 600",
            Duration::from_millis(300),
            &StopWish::default(),
            &mut |_| Flow::Continue,
        );
        assert_eq!(finished.ending, Ending::TimedOut);
        assert!(finished.elapsed < LONG);
    }

    #[test]
    fn a_process_that_is_left_is_seen() {
        let root = folder("left");
        let mut sleep = Command::new("sleep");
        let child = Qemu(sleep.arg("600").current_dir(&root).spawn().unwrap());
        assert!(anybody_in(&root));
        drop(child);
        assert!(!anybody_in(&root));
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn a_limit_within_the_run_kills_and_a_later_one_replaces_it() {
        let mut limits = [LONG, Duration::from_millis(300)].into_iter();
        let finished = shell(
            "within",
            "echo a; echo b; exec sleep 600",
            LONG * 2,
            &StopWish::default(),
            &mut |_| limits.next().map_or(Flow::Continue, Flow::Within),
        );
        assert_eq!(finished.ending, Ending::TimedOut);
        assert!(finished.elapsed < LONG);
    }

    #[test]
    fn no_limit_within_the_run_outlasts_it() {
        let finished = shell(
            "outlast",
            "echo a; exec sleep 600",
            Duration::from_millis(300),
            &StopWish::default(),
            &mut |_| Flow::Within(LONG),
        );
        assert_eq!(finished.ending, Ending::TimedOut);
        assert!(finished.elapsed < LONG);
    }

    #[test]
    fn a_watcher_stops_the_run_and_sees_nothing_more() {
        let mut seen = Vec::new();
        let finished = shell(
            "watch",
            "echo a; echo b; echo c; exec sleep 600",
            LONG,
            &StopWish::default(),
            &mut |line| {
                seen.push(line.to_owned());
                if line == "b" {
                    Flow::Stop(Ending::Satisfied)
                } else {
                    Flow::Continue
                }
            },
        );
        assert_eq!(finished.ending, Ending::Satisfied);
        assert_eq!(seen, ["a", "b"]);
    }

    #[test]
    fn a_wish_to_stop_is_heard() {
        let stop = StopWish::default();
        let hearer = stop.clone();
        let finished = shell(
            "stop",
            "echo a; exec sleep 600",
            LONG,
            &stop,
            &mut move |_| {
                hearer.make();
                Flow::Continue
            },
        );
        assert_eq!(finished.ending, Ending::Interrupted);
    }

    #[test]
    fn dropping_kills() {
        let child = Command::new("sleep").arg("600").spawn().unwrap();
        let pid = child.id().to_string();
        assert!(is_alive(&pid));
        drop(Qemu(child));
        assert!(!is_alive(&pid));
    }

    #[test]
    fn the_usual_complaints_are_not_told() {
        let usual = "qemu: warning: TCG doesn't support requested feature: CPUID.80000001H:ECX.osvw [bit 9]\n";
        assert_eq!(worth_telling(usual), "");
        assert_eq!(
            worth_telling(&format!("{usual}could not open 'x'\n{usual}")),
            "could not open 'x'\n"
        );
    }

    #[test]
    fn an_endless_line_comes_in_pieces() {
        let (sender, receiver) = sync_channel(8);
        send_lines(io::Cursor::new(vec![b'x'; (1 << 16) + 5]), &sender);
        drop(sender);
        let lengths: Vec<usize> = receiver.iter().map(|line| line.len()).collect();
        assert_eq!(lengths, [1 << 16, 5]);
    }
}
