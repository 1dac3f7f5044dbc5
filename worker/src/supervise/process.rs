//! The operating system's side of an engine process.

use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use super::socket::Socket;
use crate::child::{FAILED, READY};
use crate::host::{Device, EngineKind};

/// What the system is given to end a process that was killed: it gives back all
/// of its memory first.
pub(super) const KILLED_WITHIN: Duration = Duration::from_secs(30);

pub(super) struct Process {
    child: Child,
    /// Closing it asks the process to go.
    stdin: Option<ChildStdin>,
    stdout: Lines<BufReader<ChildStdout>>,
}

impl Process {
    pub(super) fn start(
        program: &Path,
        arguments: &[String],
        socket: &Socket,
        device: &Device,
    ) -> io::Result<Self> {
        let mut command = Command::new(program);
        command.args(arguments).arg("engine").arg("--socket").arg(socket.path());
        match &device.engine {
            EngineKind::Cpu => command.args(["--compute", "cpu"]),
            // It sees this GPU and no other, whatever its index would be.
            EngineKind::Cuda => command.args(["--compute", "cuda"]).env("CUDA_VISIBLE_DEVICES", &device.uuid),
            EngineKind::Simulated(declared) => {
                let declared = serde_json::to_string(declared).map_err(io::Error::other)?;
                command.args(["--compute", "simulated", "--simulated-device", &declared])
            }
            EngineKind::Unavailable(why) => return Err(io::Error::other(why.clone())),
        };
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // A group of its own: Ctrl-C at a terminal is for the supervisor,
            // which lets requests finish first.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().ok_or_else(|| io::Error::other("no pipe for standard output"))?;
        Ok(Self { child, stdin, stdout: BufReader::new(stdout).lines() })
    }

    pub(super) fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits for the line that says it answers.
    ///
    /// # Errors
    /// What it said instead; `None` if it said nothing and closed its output.
    pub(super) async fn ready(&mut self) -> Result<(), Option<String>> {
        while let Ok(Some(line)) = self.stdout.next_line().await {
            if line == READY {
                return Ok(());
            }
            if let Some(why) = line.strip_prefix(FAILED) {
                return Err(Some(why.to_owned()));
            }
        }
        Err(None)
    }

    /// Waits for its end. What it prints meanwhile is logged: nothing of ours
    /// prints, but a library may, and must not be stopped by a full pipe.
    pub(super) async fn exited(&mut self) -> io::Result<ExitStatus> {
        loop {
            tokio::select! {
                status = self.child.wait() => return status,
                line = self.stdout.next_line() => match line {
                    Ok(Some(line)) => tracing::info!(line, "printed by the engine process"),
                    Ok(None) | Err(_) => return self.child.wait().await,
                }
            }
        }
    }

    /// Lets it end by itself, or ends it. Whether it is gone: one that waits within
    /// a driver is told to go, and does not.
    pub(super) async fn end(mut self, patience: Duration) -> bool {
        drop(self.stdin.take());
        timeout(patience, self.child.wait()).await.is_ok()
            || timeout(KILLED_WITHIN, self.child.kill()).await.is_ok()
    }
}
