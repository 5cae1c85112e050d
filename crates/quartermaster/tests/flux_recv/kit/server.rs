//! The receiver in a process of its own: the built program.

use std::{
    fs,
    io::Read as _,
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use tempfile::TempDir;

use super::wait_for;

/// A running receiver and its directory.
pub(crate) struct Server {
    pub(crate) directory: TempDir,
    pub(crate) address: SocketAddr,
    child: Child,
    pub(crate) proxy: String,
    pub(crate) flags: Vec<String>,
}

fn command(args: &[&str], directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quartermaster"));
    command
        .args(["as", "flux-recv"])
        .args(args)
        // As if somebody had set it for another program.
        .env("RUST_LOG", "no=such=filter")
        // Where there is none, unless a test puts one there.
        .env("KUBECONFIG", directory.join("kubeconfig"))
        .env_remove("KUBERNETES_SERVICE_HOST")
        .current_dir(directory)
        .stdin(Stdio::null());
    command
}

/// An address for a program to listen at a moment later: not one that the system gives to whoever
/// connects meanwhile, so only another test could take it.
pub(crate) fn free_address() -> SocketAddr {
    const FIRST: u32 = 15_000;
    const MANY: u32 = 15_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = std::process::id().wrapping_mul(97) + NEXT.fetch_add(1, Ordering::Relaxed);
        let port = u16::try_from(FIRST + number % MANY).unwrap();
        if let Ok(free) = TcpListener::bind(("127.0.0.1", port)) {
            return free.local_addr().unwrap();
        }
    }
}

impl Server {
    /// A receiver with this file and these keys, answering.
    pub(crate) fn start(config: &str, keys: &[(&str, &str)]) -> Self {
        Self::start_with(config, keys, &[])
    }

    /// The same with more flags.
    pub(crate) fn start_with(config: &str, keys: &[(&str, &str)], flags: &[String]) -> Self {
        // Many run at once, and only one would get the default.
        let own = std::iter::once("--admin-listen=none".to_owned());
        let flags: Vec<_> = own.chain(flags.iter().cloned()).collect();
        Self::start_in(tempfile::tempdir().unwrap(), config, keys, &flags)
    }

    /// One in a directory that may have something in it, with these flags only.
    pub(crate) fn start_in(
        directory: TempDir,
        config: &str,
        keys: &[(&str, &str)],
        flags: &[String],
    ) -> Self {
        fs::write(directory.path().join("fluxrecv.yaml"), config).unwrap();
        for (name, key) in keys {
            fs::write(directory.path().join(name), key).unwrap();
        }
        let address = free_address();
        // Nobody is there: what is near is called without it.
        let proxy = "http://127.0.0.1:1".to_owned();
        let child = Self::spawn(&directory, address, &proxy, flags);
        let mut server = Self { directory, address, child, proxy, flags: flags.to_vec() };
        server.await_health();
        server
    }

    fn spawn(directory: &TempDir, address: SocketAddr, proxy: &str, flags: &[String]) -> Child {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(directory.path().join("stderr"))
            .unwrap();
        let listen = format!("--listen={address}");
        let mut args = vec!["--config=fluxrecv.yaml", &listen];
        args.extend(flags.iter().map(String::as_str));
        let out = fs::File::create(directory.path().join("stdout")).unwrap();
        let mut command = command(&args, directory.path());
        command.env("HTTP_PROXY", proxy).stdout(out).stderr(log).spawn().unwrap()
    }

    fn await_health(&mut self) {
        let (address, child) = (self.address, &mut self.child);
        let log = self.directory.path().join("stderr");
        wait_for("the receiver to listen", Duration::from_secs(20), || {
            if let Some(status) = child.try_wait().unwrap() {
                panic!("ended with {status}: {}", fs::read_to_string(&log).unwrap_or_default());
            }
            TcpStream::connect(address).is_ok()
        });
    }

    /// What it wrote to stderr so far.
    pub(crate) fn stderr(&self) -> String {
        fs::read_to_string(self.directory.path().join("stderr")).unwrap()
    }

    /// What it wrote to stdout so far.
    pub(crate) fn stdout(&self) -> String {
        fs::read_to_string(self.directory.path().join("stdout")).unwrap()
    }

    /// The path of the endpoint whose key is in this file.
    pub(crate) fn path(key: &str) -> String {
        format!("/hook/{}", hooks::decide::digest::endpoint(key.as_bytes(), ""))
    }

    /// Ends it as a power cut would.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again after an end.
    pub(crate) fn restart(&mut self) {
        self.child = Self::spawn(&self.directory, self.address, &self.proxy, &self.flags);
        self.await_health();
    }

    /// Asks it to end and waits until it has.
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        self.signal(rustix::process::Signal::TERM);
        self.child.wait().unwrap()
    }

    /// Lets it write to files up to this offset only; without one as far as it likes.
    pub(crate) fn limit_files(&self, current: Option<u64>) {
        use rustix::process::{Pid, Resource, Rlimit, prlimit};
        let pid = Pid::from_raw(self.child.id().cast_signed()).unwrap();
        let limit = Rlimit { current, maximum: None };
        prlimit(Some(pid), Resource::Fsize, limit).unwrap();
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.child.id().cast_signed()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Waits until it has ended by itself.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    /// Runs to the end with these arguments: exit code, stdout.
    pub(crate) fn output(args: &[&str], directory: &Path) -> (i32, String) {
        let run = command(args, directory).stderr(Stdio::inherit()).output().unwrap();
        (run.status.code().unwrap_or(-1), String::from_utf8(run.stdout).unwrap())
    }

    /// Runs to the end with these arguments: exit code, stderr.
    pub(crate) fn once(args: &[&str], directory: &Path) -> (i32, String) {
        let mut child =
            command(args, directory).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut text = String::new();
        child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
        (child.wait().unwrap().code().unwrap_or(-1), text)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!(
                "{}",
                fs::read_to_string(self.directory.path().join("stderr")).unwrap_or_default()
            );
        }
    }
}
