//! Flags of `quartermaster as workspaces-controller`: those of the original with its variables and
//! defaults, then our own. What cannot be read is refused; the original went on with its defaults.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
};

use clap::Args;

use super::{ClusterChoice, go::GoFlag as _};
use crate::config;

/// Where the original finds its certificate.
const CERTIFICATES: &str = "/tmp/k8s-webhook-server/serving-certs";

/// Set ENABLE_WEBHOOKS=false to serve no admission webhooks.
#[derive(Debug, Args)]
pub(crate) struct WorkspacesController {
    /// Address of /metrics; `0` for none
    #[arg(long, value_name = "ADDR", default_value = ":8080", value_parser = bind_address)]
    pub(crate) metrics_bind_address: Bind,
    /// Address of /healthz and /readyz; `0` for none
    #[arg(long, value_name = "ADDR", default_value = ":8081", value_parser = bind_address)]
    pub(crate) health_probe_bind_address: Bind,
    /// Be one among replicas: only the holder of the Lease kubeflow-workspace-controller works
    #[arg(long, go_bool = "false")]
    pub(crate) leader_elect: bool,
    /// Serve /metrics over TLS, with a certificate made at the start
    #[arg(long, go_bool = "false")]
    pub(crate) metrics_secure: bool,
    /// Offer HTTP/2 at the webhooks, and at /metrics if that is over TLS
    #[arg(long, go_bool = "false")]
    pub(crate) enable_http2: bool,
    /// Make a VirtualService for each workspace
    #[arg(long, env = "USE_ISTIO", hide_env_values = true, go_bool = "false")]
    pub(crate) use_istio: bool,
    /// Gateway of these, as NAMESPACE/NAME
    #[arg(
        long,
        value_name = "GATEWAY",
        env = "ISTIO_GATEWAY",
        hide_env_values = true,
        default_value = ""
    )]
    pub(crate) istio_gateway: String,
    /// Hosts of these, separated by commas [default: *]
    #[arg(long, value_name = "HOSTS", env = "ISTIO_HOSTS", hide_env_values = true, value_parser = hosts)]
    pub(crate) istio_hosts: Option<Hosts>,
    /// What ISTIO_HOSTS is called in manifests of the original
    #[arg(long, hide = true, value_name = "HOSTS", env = "ISTIO_HOST", value_parser = hosts)]
    pub(crate) istio_host: Option<Hosts>,
    /// Domain of the cluster's Services
    #[arg(
        long,
        value_name = "DOMAIN",
        env = "CLUSTER_DOMAIN",
        hide_env_values = true,
        default_value = "cluster.local",
        value_parser = domain
    )]
    pub(crate) cluster_domain: String,
    /// How many workspaces are worked on at a time
    #[arg(
        long,
        value_name = "COUNT",
        env = "MAX_CONCURRENT_RECONCILES",
        hide_env_values = true,
        default_value_t = 10,
        value_parser = clap::value_parser!(u16).range(1..=1000)
    )]
    pub(crate) max_concurrent_reconciles: u16,
    /// Everything but the word `false` leaves them on, as the original has it
    #[arg(long, hide = true, env = "ENABLE_WEBHOOKS", default_value = "true")]
    pub(crate) enable_webhooks: String,
    #[command(flatten)]
    pub(crate) zap: Zap,
    #[command(flatten)]
    pub(crate) own: Own,
}

/// Flags for the logs of the original. Ours go by `--log`.
#[derive(Debug, Args)]
pub(crate) struct Zap {
    #[arg(long, hide = true)]
    pub(crate) zap_log_level: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) zap_devel: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) zap_encoder: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) zap_stacktrace_level: Option<String>,
    #[arg(long, hide = true)]
    pub(crate) zap_time_encoding: Option<String>,
}

/// What the original does not have.
#[derive(Debug, Args)]
pub(crate) struct Own {
    /// Make an HTTPRoute of the Gateway API for each workspace
    #[arg(long, env = "USE_GATEWAY_API", hide_env_values = true, go_bool = "false")]
    pub(crate) use_gateway_api: bool,
    /// Gateway of these, as NAMESPACE/NAME
    #[arg(
        long,
        value_name = "GATEWAY",
        env = "GATEWAY_NAME",
        hide_env_values = true,
        value_parser = gateway
    )]
    pub(crate) gateway_name: Option<String>,
    /// Hosts of these, separated by commas; `*` are those of the gateway [default: *]
    #[arg(long, value_name = "HOSTS", env = "GATEWAY_HOSTS", hide_env_values = true, value_parser = hosts)]
    pub(crate) gateway_hosts: Option<Hosts>,
    /// Which cluster: `in-cluster` or `kubeconfig[:CONTEXT]` [default: that of the pod we run in,
    /// else that of the kubeconfig]
    #[arg(long, value_name = "CLUSTER", env = "QUARTERMASTER_CLUSTER", hide_env_values = true)]
    pub(crate) cluster: Option<ClusterChoice>,
    /// Address of the admission webhooks
    #[arg(
        long,
        value_name = "ADDR",
        env = "WEBHOOK_BIND_ADDRESS",
        hide_env_values = true,
        default_value = ":9443",
        value_parser = bind_address
    )]
    pub(crate) webhook_bind_address: Bind,
    /// Directory with tls.crt, tls.key and perhaps ca.crt; if it has no tls.crt, certificates are
    /// made and kept in the Secret quartermaster-admission
    #[arg(
        long,
        value_name = "DIR",
        env = "WEBHOOK_CERT_DIR",
        hide_env_values = true,
        default_value = CERTIFICATES
    )]
    pub(crate) webhook_cert_dir: PathBuf,
    /// Secret with tls.crt, tls.key and perhaps ca.crt, in our namespace, instead of a directory
    #[arg(
        long,
        value_name = "NAME",
        env = "WEBHOOK_CERT_SECRET",
        hide_env_values = true,
        value_parser = config::name
    )]
    pub(crate) webhook_cert_secret: Option<String>,
    /// Service by which API servers reach the webhooks, in our namespace
    #[arg(
        long,
        value_name = "NAME",
        env = "WEBHOOK_SERVICE",
        hide_env_values = true,
        default_value = workspaces::admission::SERVICE,
        value_parser = config::name
    )]
    pub(crate) webhook_service: String,
    /// Address by which API servers reach the webhooks, instead of a Service
    #[arg(
        long,
        value_name = "URL",
        env = "WEBHOOK_URL",
        hide_env_values = true,
        value_parser = config::secure
    )]
    pub(crate) webhook_url: Option<String>,
}

impl WorkspacesController {
    /// The hosts of VirtualServices, by either name.
    pub(crate) fn hosts(&self) -> Vec<String> {
        let said = self.istio_hosts.clone().or_else(|| self.istio_host.clone());
        said.map_or_else(|| vec!["*".to_owned()], |hosts| hosts.0)
    }

    /// Whether admission is served.
    pub(crate) fn webhooks(&self) -> bool {
        self.enable_webhooks != "false"
    }
}

/// An address to listen at, at all addresses of the machine if it names none, or nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bind(pub(crate) Option<Place>);

/// Where to listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// At this address.
    At(SocketAddr),
    /// At this port of all addresses.
    Everywhere(u16),
}

impl Place {
    /// What to try, one after the other: a machine may have only one family of addresses.
    pub(crate) fn addresses(self) -> Vec<SocketAddr> {
        match self {
            Self::At(address) => vec![address],
            Self::Everywhere(port) => {
                let all: [IpAddr; 2] = [Ipv6Addr::UNSPECIFIED.into(), Ipv4Addr::UNSPECIFIED.into()];
                all.map(|ip| SocketAddr::new(ip, port)).into()
            }
        }
    }
}

/// Hosts of routes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hosts(pub(crate) Vec<String>);

/// `:8080`, `127.0.0.1:8080`, `localhost:8080`, or `0`.
fn bind_address(text: &str) -> Result<Bind, String> {
    let expected = || "expected an address such as :8080 or 127.0.0.1:8080, or 0".to_owned();
    if text == "0" {
        return Ok(Bind(None));
    }
    let place = match text.rsplit_once(':') {
        Some(("", port)) => Place::Everywhere(port.parse().map_err(|_| expected())?),
        Some(("localhost", port)) => {
            let port = port.parse().map_err(|_| expected())?;
            Place::At(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port))
        }
        _ => Place::At(text.parse().map_err(|_| expected())?),
    };
    Ok(Bind(Some(place)))
}

fn hosts(text: &str) -> Result<Hosts, String> {
    let fits = |host: &str| {
        let name = host.strip_prefix("*.").unwrap_or(host);
        host == "*" || domain(name).is_ok()
    };
    let hosts: Vec<String> = text.split(',').map(|host| host.trim().to_owned()).collect();
    match hosts.iter().all(|host| fits(host)) {
        true => Ok(Hosts(hosts)),
        false => Err("expected hosts such as * or a.example.org,*.b.example.org".to_owned()),
    }
}

fn gateway(text: &str) -> Result<String, String> {
    let parts = text.split_once('/');
    let good = |(namespace, name)| config::name(namespace).is_ok() && domain(name).is_ok();
    match parts.is_some_and(good) {
        true => Ok(text.to_owned()),
        false => Err("expected NAMESPACE/NAME".to_owned()),
    }
}

fn domain(text: &str) -> Result<String, String> {
    let label = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        (1..=63).contains(&label.len())
            && label.bytes().all(inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    match text.len() <= 253 && text.split('.').all(label) {
        true => Ok(text.to_owned()),
        false => Err("expected a domain such as cluster.local".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use rstest::rstest;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        controller: WorkspacesController,
    }

    fn read(flags: &[&str]) -> Result<WorkspacesController, String> {
        let line = Line::try_parse_from(std::iter::once(&"controller").chain(flags));
        line.map(|line| line.controller).map_err(|error| error.to_string())
    }

    #[test]
    fn without_flags_it_is_the_original() {
        let controller = read(&[]).unwrap();
        assert_eq!(controller.metrics_bind_address, Bind(Some(Place::Everywhere(8080))));
        assert_eq!(controller.health_probe_bind_address, Bind(Some(Place::Everywhere(8081))));
        assert!(!controller.leader_elect && !controller.metrics_secure);
        assert!(!controller.enable_http2 && !controller.use_istio);
        assert_eq!(controller.istio_gateway, "");
        assert_eq!(controller.hosts(), ["*"]);
        assert_eq!(controller.cluster_domain, "cluster.local");
        assert_eq!(controller.max_concurrent_reconciles, 10);
        assert!(controller.webhooks());
        let own = controller.own;
        assert_eq!(own.webhook_bind_address, Bind(Some(Place::Everywhere(9443))));
        assert_eq!(own.webhook_cert_dir, PathBuf::from(CERTIFICATES));
        assert_eq!(own.webhook_service, "workspaces-webhook-service");
        assert!(!own.use_gateway_api && own.gateway_name.is_none());
        assert_eq!((own.webhook_url, own.webhook_cert_secret), (None, None));
    }

    #[test]
    fn the_flags_of_its_manifests_are_understood() {
        let controller = read(&[
            "--health-probe-bind-address=:8081",
            "--metrics-bind-address=0",
            "--leader-elect",
            "--zap-log-level=info",
            "--zap-devel",
            "--use-istio=true",
            "--istio-gateway=kubeflow/kubeflow-gateway",
            "--istio-hosts=a.example.org, *.b.example.org",
            "--cluster-domain=corp.example",
            "--max-concurrent-reconciles=3",
            "--use-gateway-api",
            "--gateway-name=edge/front",
            "--gateway-hosts=ws.example.org",
            "--enable-webhooks=false",
        ])
        .unwrap();
        assert_eq!(controller.metrics_bind_address, Bind(None));
        assert!(controller.leader_elect && controller.use_istio && !controller.webhooks());
        assert_eq!(controller.hosts(), ["a.example.org", "*.b.example.org"]);
        assert_eq!(controller.cluster_domain, "corp.example");
        assert_eq!(controller.max_concurrent_reconciles, 3);
        assert!(controller.own.use_gateway_api);
        assert_eq!(controller.own.gateway_name.as_deref(), Some("edge/front"));
        assert_eq!(controller.own.gateway_hosts.unwrap().0, ["ws.example.org"]);
        let controller = read(&["--istio-host=c.example.org", "--enable-webhooks=no"]).unwrap();
        assert_eq!(controller.hosts(), ["c.example.org"]);
        assert!(controller.webhooks(), "only the word false switches them off");
        let local = read(&["--metrics-bind-address=localhost:1"]).unwrap().metrics_bind_address;
        assert_eq!(local, Bind(Some(Place::At("127.0.0.1:1".parse().unwrap()))));
    }

    #[rstest]
    #[case("--metrics-bind-address=8080")]
    #[case("--metrics-bind-address=:http")]
    #[case("--metrics-bind-address=")]
    #[case("--health-probe-bind-address=example.org:1")]
    #[case("--health-probe-bind-address=:70000")]
    #[case("--leader-elect=maybe")]
    #[case("--metrics-secure=si")]
    #[case("--use-istio=2")]
    #[case("--istio-hosts=")]
    #[case("--istio-hosts=a,,b")]
    #[case("--istio-hosts=https://a.example.org")]
    #[case("--cluster-domain=")]
    #[case("--cluster-domain=a..b")]
    #[case("--max-concurrent-reconciles=0")]
    #[case("--max-concurrent-reconciles=1e3")]
    #[case("--gateway-name=front")]
    #[case("--gateway-name=edge/front/more")]
    #[case("--gateway-name=/front")]
    #[case("--gateway-hosts=https://a.example.org")]
    #[case("--webhook-url=http://127.0.0.1:9443")]
    #[case("--webhook-service=a/b")]
    #[case("--webhook-cert-secret=")]
    #[case("--cluster=nowhere")]
    fn nonsense_is_refused_by_name(#[case] flag: &str) {
        let error = read(&[flag]).unwrap_err();
        let name = flag.split('=').next().unwrap();
        assert!(error.contains(name), "{error}");
    }
}
