//! Startup, readiness and liveness probes of one running container.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{Container, HTTPGetAction, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::mounts::PathMap;
use super::runtime::{Program, execute};

/// Between the regular looks, a container that is not ready yet is looked at this often: Kubernetes
/// allows it, and a user waits for it. Only a success of such a look counts.
const EAGER_PAUSE: Duration = Duration::from_millis(200);

/// What the probes have found so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Health {
    pub(crate) started: bool,
    pub(crate) ready: bool,
    /// Why the container must be ended.
    pub(crate) dead: Option<String>,
}

/// Where and in what the probes look.
pub(crate) struct Target {
    pub(crate) address: Ipv4Addr,
    pub(crate) run: PathBuf,
    /// The container's own program, whose environment commands get.
    pub(crate) program: Program,
    pub(crate) paths: PathMap,
}

/// Tells of a change of health, or of a probe that keeps failing.
pub(crate) trait Listener: Send + Sync + 'static {
    fn changed(&self);
    fn unhealthy(&self, message: &str);
}

/// The probes of one run of a container. They end when this is dropped.
pub(crate) struct Prober {
    health: Arc<Mutex<Health>>,
    _task: Option<AbortOnDropHandle<()>>,
}

impl Prober {
    /// Starts the probes that the container has. `known` is the health of a run that was taken over.
    pub(crate) fn start(
        container: &Container,
        target: Target,
        known: Option<Health>,
        listener: impl Listener,
    ) -> Self {
        let startup = container.startup_probe.clone();
        let (readiness, liveness) =
            (container.readiness_probe.clone(), container.liveness_probe.clone());
        let known = known.unwrap_or_default();
        let started = startup.is_none() || known.started;
        let ready = started && (readiness.is_none() || known.ready);
        let health = Arc::new(Mutex::new(Health { started, ready, dead: None }));
        let probes = Probes {
            ports: named_ports(container),
            target,
            health: Arc::clone(&health),
            listener: Box::new(listener),
        };
        let any = startup.is_some() || readiness.is_some() || liveness.is_some();
        let task = any.then(|| {
            AbortOnDropHandle::new(tokio::spawn(async move {
                probes.run(startup, readiness, liveness).await;
            }))
        });
        Self { health, _task: task }
    }

    pub(crate) fn health(&self) -> Health {
        self.health.lock().clone()
    }
}

fn named_ports(container: &Container) -> BTreeMap<String, i32> {
    let ports = container.ports.iter().flatten();
    ports.filter_map(|port| Some((port.name.clone()?, port.container_port))).collect()
}

struct Probes {
    target: Target,
    ports: BTreeMap<String, i32>,
    health: Arc<Mutex<Health>>,
    listener: Box<dyn Listener>,
}

impl Probes {
    async fn run(&self, startup: Option<Probe>, readiness: Option<Probe>, liveness: Option<Probe>) {
        let started = self.health.lock().started;
        if let Some(probe) = startup.filter(|_| !started) {
            let up = self.watch("Startup", &probe, false, Some).await;
            if !up {
                return;
            }
            let ready = readiness.is_none();
            self.set(|health| {
                health.started = true;
                health.ready = ready;
            });
        }
        let readiness = async {
            if let Some(probe) = readiness {
                let ready = self.health.lock().ready;
                self.watch("Readiness", &probe, ready, |ready| {
                    self.set(|health| health.ready = ready);
                    None
                })
                .await;
            }
        };
        let liveness = async {
            if let Some(probe) = liveness {
                self.watch("Liveness", &probe, true, |alive| (!alive).then_some(false)).await;
            }
        };
        futures::join!(readiness, liveness);
    }

    fn set(&self, change: impl FnOnce(&mut Health)) {
        let mut health = self.health.lock();
        let before = health.clone();
        change(&mut health);
        let changed = *health != before;
        drop(health);
        if changed {
            self.listener.changed();
        }
    }

    /// Probes until `verdict`, which is told of every crossing of a threshold, returns an answer.
    async fn watch(
        &self,
        what: &str,
        probe: &Probe,
        mut good: bool,
        verdict: impl Fn(bool) -> Option<bool>,
    ) -> bool {
        let limits = Limits::of(probe);
        tokio::time::sleep(limits.delay).await;
        let (mut successes, mut failures) = (0, 0);
        let mut regular = Instant::now();
        loop {
            let counts = Instant::now() >= regular;
            if counts {
                regular = Instant::now() + limits.period;
            }
            match self.check(probe, limits.timeout).await {
                Ok(()) => {
                    (successes, failures) = (successes + 1, 0);
                    if successes >= limits.successes && !good {
                        good = true;
                        if let Some(answer) = verdict(true) {
                            return answer;
                        }
                    }
                }
                Err(reason) if counts => {
                    (successes, failures) = (0, failures + 1);
                    if failures == limits.failures {
                        let message = format!("{what} probe failed: {reason}");
                        self.listener.unhealthy(&message);
                        if what != "Readiness" {
                            self.set(|health| health.dead = Some(message));
                        }
                        good = false;
                        if let Some(answer) = verdict(false) {
                            return answer;
                        }
                        if what == "Startup" {
                            return false;
                        }
                    }
                }
                Err(_) => successes = 0,
            }
            let next = if good { regular } else { regular.min(Instant::now() + EAGER_PAUSE) };
            tokio::time::sleep_until(next).await;
        }
    }

    async fn check(&self, probe: &Probe, timeout: Duration) -> Result<(), String> {
        let check = async {
            if let Some(get) = &probe.http_get {
                return self.http(get).await;
            }
            if let Some(tcp) = &probe.tcp_socket {
                let address = self.socket_address(&tcp.port)?;
                return connect(address).await.map(drop);
            }
            if let Some(exec) = &probe.exec {
                return self.exec(exec.command.as_deref().unwrap_or_default()).await;
            }
            Err("this type of probe is not supported on this node".to_owned())
        };
        tokio::time::timeout(timeout, check).await.unwrap_or_else(|_| Err("timed out".to_owned()))
    }

    fn socket_address(&self, port: &IntOrString) -> Result<SocketAddr, String> {
        let number = match port {
            IntOrString::Int(number) => Some(*number),
            IntOrString::String(name) => {
                self.ports.get(name).copied().or_else(|| name.parse().ok())
            }
        };
        number
            .and_then(|number| u16::try_from(number).ok())
            .map(|port| SocketAddr::from((self.target.address, port)))
            .ok_or_else(|| format!("unknown port {port:?}"))
    }

    async fn http(&self, get: &HTTPGetAction) -> Result<(), String> {
        if get.scheme.as_deref().is_some_and(|scheme| scheme != "HTTP") {
            return Err("only the scheme HTTP is supported on this node".to_owned());
        }
        let address = self.socket_address(&get.port)?;
        let path = get.path.as_deref().filter(|path| !path.is_empty()).unwrap_or("/");
        let mut request = http::Request::get(path)
            .header(http::header::HOST, address.to_string())
            .header(http::header::USER_AGENT, "kube-probe/quartermaster")
            .header(http::header::CONNECTION, "close");
        for header in get.http_headers.iter().flatten() {
            request = request.header(&header.name, &header.value);
        }
        let request = request.body(Empty::<Bytes>::new()).map_err(|error| error.to_string())?;
        let stream = connect(address).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| error.to_string())?;
        let connection = AbortOnDropHandle::new(tokio::spawn(connection));
        let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
        drop(connection);
        let status = answer.status();
        if status.is_success() || status.is_redirection() {
            Ok(())
        } else {
            Err(format!("HTTP probe failed with statuscode: {}", status.as_u16()))
        }
    }

    async fn exec(&self, command: &[String]) -> Result<(), String> {
        let words: Vec<_> = command.iter().map(|word| self.target.paths.map(word)).collect();
        let (name, arguments) = words.split_first().ok_or("no command to execute")?;
        let program = Program {
            path: PathBuf::from(name),
            arguments: arguments.to_vec(),
            ..self.target.program.clone()
        };
        match execute(&self.target.run, program).await {
            Ok((true, _)) => Ok(()),
            Ok((false, output)) => Err(output.trim().to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }
}

async fn connect(address: SocketAddr) -> Result<TcpStream, String> {
    TcpStream::connect(address).await.map_err(|error| format!("dial tcp {address}: {error}"))
}

/// The numbers of a probe, with the defaults of the API.
struct Limits {
    delay: Duration,
    period: Duration,
    timeout: Duration,
    successes: i32,
    failures: i32,
}

impl Limits {
    fn of(probe: &Probe) -> Self {
        let seconds = |given: Option<i32>, default: u64, least: u64| {
            let given = given.and_then(|given| u64::try_from(given).ok());
            Duration::from_secs(given.unwrap_or(default).max(least))
        };
        Self {
            delay: seconds(probe.initial_delay_seconds, 0, 0),
            period: seconds(probe.period_seconds, 10, 1),
            timeout: seconds(probe.timeout_seconds, 1, 1),
            successes: probe.success_threshold.unwrap_or(1).max(1),
            failures: probe.failure_threshold.unwrap_or(3).max(1),
        }
    }
}
