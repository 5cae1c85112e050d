//! Flags of `quartermaster as workspaces-backend`: those of the original with its variables and
//! defaults, then our own. What cannot be read is refused; the original went on with its defaults.

use clap::Args;
use cluster::client::Pace;
use http::{HeaderName, Uri, uri::Authority};
use web::{Cors, identity::Trusted};
use workspaces::dialect::kubeflow::Profile;

use super::{ClusterChoice, go::GoFlag as _};

#[derive(Debug, Args)]
pub(crate) struct WorkspacesBackend {
    /// Port to listen at, at all addresses
    #[arg(long, env = "PORT", hide_env_values = true, default_value_t = 4000)]
    pub(crate) port: u16,
    /// Requests a second to the Kubernetes API; below zero for no limit
    #[arg(
        long,
        value_name = "RATE",
        env = "CLIENT_QPS",
        hide_env_values = true,
        default_value = "50",
        allow_negative_numbers = true,
        value_parser = rate
    )]
    pub(crate) client_qps: f64,
    /// Requests to the Kubernetes API at once after a pause
    #[arg(
        long,
        value_name = "COUNT",
        env = "CLIENT_BURST",
        hide_env_values = true,
        default_value = "100",
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    pub(crate) client_burst: u32,
    /// Header that names the user
    #[arg(
        long,
        value_name = "HEADER",
        env = "USERID_HEADER",
        hide_env_values = true,
        default_value = "kubeflow-userid",
        value_parser = header
    )]
    pub(crate) userid_header: HeaderName,
    /// What is taken off the start of the user; may be empty
    #[arg(
        long,
        value_name = "TEXT",
        env = "USERID_PREFIX",
        hide_env_values = true,
        default_value = ":"
    )]
    pub(crate) userid_prefix: String,
    /// Header that names a group, once per group
    #[arg(
        long,
        value_name = "HEADER",
        env = "GROUPS_HEADER",
        hide_env_values = true,
        default_value = "kubeflow-groups",
        value_parser = header
    )]
    pub(crate) groups_header: HeaderName,
    /// What goes before our paths in answers, where a proxy serves them under a prefix
    #[arg(
        long,
        value_name = "PREFIX",
        env = "PROXY_URL_PREFIX",
        hide_env_values = true,
        default_value = "",
        value_parser = prefix
    )]
    pub(crate) proxy_url_prefix: String,
    /// Serve the API as a Swagger document, with a page, below /api/v1/swagger/
    #[arg(long, env = "SWAGGER_ENABLED", hide_env_values = true, go_bool = "false")]
    pub(crate) swagger_enabled: bool,
    /// Host that the document names
    #[arg(
        long,
        value_name = "HOST",
        env = "SWAGGER_HOST",
        hide_env_values = true,
        default_value = "localhost:4000",
        value_parser = host
    )]
    pub(crate) swagger_host: String,
    /// Path that the document names
    #[arg(
        long,
        value_name = "PATH",
        env = "SWAGGER_BASE_PATH",
        hide_env_values = true,
        default_value = "/api/v1",
        value_parser = path
    )]
    pub(crate) swagger_base_path: String,
    /// Scheme that the document names
    #[arg(
        long,
        value_name = "SCHEME",
        env = "SWAGGER_SCHEME",
        hide_env_values = true,
        default_value = "http",
        value_parser = ["http", "https"]
    )]
    pub(crate) swagger_scheme: String,
    #[command(flatten)]
    pub(crate) own: Own,
}

/// What the original does not have.
#[derive(Debug, Args)]
pub(crate) struct Own {
    /// Which cluster: `in-cluster` or `kubeconfig[:CONTEXT]` [default: that of the pod we run in,
    /// else that of the kubeconfig]
    #[arg(long, value_name = "CLUSTER", env = "QUARTERMASTER_CLUSTER", hide_env_values = true)]
    pub(crate) cluster: Option<ClusterChoice>,
    /// Networks whose connections may say who calls, separated by commas [default: all, as the
    /// original has it; name that of your proxy]
    #[arg(long, value_name = "NETWORKS", env = "TRUSTED_PEERS", hide_env_values = true, value_parser = networks)]
    pub(crate) trusted_peers: Option<Trusted>,
    /// What separates groups within one header [default: nothing]
    #[arg(long, value_name = "CHARACTER", env = "GROUPS_SEPARATOR", hide_env_values = true)]
    pub(crate) groups_separator: Option<char>,
    /// Origins whose pages may do all that their users may, separated by commas [default: none;
    /// every page may read what needs no credentials]
    #[arg(long, value_name = "ORIGINS", env = "ALLOWED_ORIGINS", hide_env_values = true, value_parser = origins)]
    pub(crate) allowed_origins: Option<Cors>,
    /// Generation of the API for requests without `X-Api-Profile`: 2026-08 or 2025-07
    #[arg(
        long,
        value_name = "PROFILE",
        env = "API_PROFILE",
        hide_env_values = true,
        default_value_t
    )]
    pub(crate) api_profile: Profile,
    /// Whether volumes and Secrets are mounted only with the label that releases them
    #[arg(long, env = "REQUIRE_CAN_MOUNT", hide_env_values = true, go_bool = "true")]
    pub(crate) require_can_mount: bool,
    /// Refuse a pause request that does not say `paused`, which otherwise starts the workspace
    #[arg(long, env = "STRICT_PAUSE_BODY", hide_env_values = true, go_bool = "false")]
    pub(crate) strict_pause_body: bool,
    /// Let everybody who can connect do everything
    #[arg(long)]
    pub(crate) insecure_disable_auth: bool,
    /// Of older originals; wants `--insecure-disable-auth` as well
    #[arg(long, hide = true, env = "DISABLE_AUTH", go_bool = "false")]
    pub(crate) disable_auth: bool,
}

impl WorkspacesBackend {
    /// How fast requests go to the cluster; none for as fast as they can.
    pub(crate) fn pace(&self) -> Option<Pace> {
        Pace::new(self.client_qps, self.client_burst)
    }
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.trim().parse().ok().filter(|rate: &f64| rate.is_finite() && *rate != 0.0);
    rate.ok_or_else(|| "expected a number that is not zero, such as 50 or 0.5".to_owned())
}

fn header(text: &str) -> Result<HeaderName, String> {
    let name = text.trim().parse();
    name.map_err(|_| "expected the name of a header, such as kubeflow-userid".to_owned())
}

/// Empty, a path, or a whole address.
fn prefix(text: &str) -> Result<String, String> {
    let fits = text.parse().is_ok_and(|uri: Uri| {
        let address = matches!(uri.scheme_str(), Some("http" | "https"));
        uri.query().is_none() && (address || text.starts_with('/')) && !text.starts_with("//")
    });
    match text.is_empty() || fits {
        true => Ok(text.to_owned()),
        false => Err("expected a path such as /workspaces, or nothing".to_owned()),
    }
}

fn path(text: &str) -> Result<String, String> {
    let fits = text.starts_with('/') && text.parse::<Uri>().is_ok_and(|uri| uri.path() == text);
    fits.then(|| text.to_owned()).ok_or_else(|| "expected a path such as /api/v1".to_owned())
}

fn host(text: &str) -> Result<String, String> {
    let fits = text.parse::<Authority>().is_ok_and(|host| !host.as_str().contains('@'));
    fits.then(|| text.to_owned()).ok_or_else(|| "expected a host such as localhost:4000".to_owned())
}

fn networks(text: &str) -> Result<Trusted, String> {
    Trusted::parse(text.split(',').map(str::trim))
}

fn origins(text: &str) -> Result<Cors, String> {
    Cors::readable().with_origins(text.split(',').map(str::trim))
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use rstest::rstest;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        backend: WorkspacesBackend,
    }

    fn read(flags: &[&str]) -> Result<WorkspacesBackend, String> {
        let line = Line::try_parse_from(std::iter::once(&"backend").chain(flags));
        line.map(|line| line.backend).map_err(|error| error.to_string())
    }

    #[test]
    fn without_flags_it_is_the_original() {
        let backend = read(&[]).unwrap();
        assert_eq!(backend.port, 4000);
        assert_eq!(backend.pace(), Pace::new(50.0, 100));
        assert_eq!(backend.userid_header, "kubeflow-userid");
        assert_eq!(backend.userid_prefix, ":");
        assert_eq!(backend.groups_header, "kubeflow-groups");
        assert_eq!(backend.proxy_url_prefix, "");
        assert!(!backend.swagger_enabled);
        assert_eq!(backend.swagger_host, "localhost:4000");
        assert_eq!(backend.swagger_base_path, "/api/v1");
        assert_eq!(backend.swagger_scheme, "http");
        let own = backend.own;
        assert_eq!(
            (own.trusted_peers, own.allowed_origins, own.groups_separator),
            (None, None, None)
        );
        assert_eq!(own.api_profile, Profile::V2026_08);
        assert!(own.require_can_mount && !own.strict_pause_body);
        assert!(!own.insecure_disable_auth && !own.disable_auth);
    }

    #[test]
    fn flags_say_otherwise() {
        let backend = read(&[
            "--port=0",
            "--client-qps=-1",
            "--userid-header= x-user ",
            "--userid-prefix=",
            "--proxy-url-prefix=/workspaces",
            "--swagger-enabled",
            "--trusted-peers=10.0.0.0/8, fd00::/8",
            "--allowed-origins=https://a.example,https://b.example",
            "--groups-separator=,",
            "--api-profile=2025-07",
            "--require-can-mount=f",
        ])
        .unwrap();
        assert_eq!((backend.port, backend.pace()), (0, None));
        assert_eq!(backend.userid_header, "x-user");
        assert_eq!(backend.userid_prefix, "");
        assert_eq!(backend.proxy_url_prefix, "/workspaces");
        assert!(backend.swagger_enabled);
        let own = backend.own;
        assert!(own.trusted_peers.unwrap().contains("10.1.2.3".parse().unwrap()));
        assert!(own.allowed_origins.is_some());
        assert_eq!(own.groups_separator, Some(','));
        assert_eq!(own.api_profile, Profile::V2025_07);
        assert!(!own.require_can_mount);
    }

    #[rstest]
    #[case("--port=70000")]
    #[case("--port=http")]
    #[case("--client-qps=0")]
    #[case("--client-qps=NaN")]
    #[case("--client-qps=fast")]
    #[case("--client-burst=0")]
    #[case("--client-burst=1.5")]
    #[case("--userid-header=")]
    #[case("--userid-header= ")]
    #[case("--groups-header=a b")]
    #[case("--proxy-url-prefix=workspaces")]
    #[case("--proxy-url-prefix=//evil.example")]
    #[case("--proxy-url-prefix=/a?b")]
    #[case("--swagger-enabled=maybe")]
    #[case("--swagger-host=a/b")]
    #[case("--swagger-base-path=api")]
    #[case("--swagger-scheme=ftp")]
    #[case("--trusted-peers=everybody")]
    #[case("--allowed-origins=example.org")]
    #[case("--groups-separator=ab")]
    #[case("--api-profile=2024-01")]
    #[case("--require-can-mount=si")]
    #[case("--cluster=nowhere")]
    fn nonsense_is_refused_by_name(#[case] flag: &str) {
        let error = read(&[flag]).unwrap_err();
        let name = flag.split('=').next().unwrap();
        assert!(error.contains(name), "{error}");
    }
}
