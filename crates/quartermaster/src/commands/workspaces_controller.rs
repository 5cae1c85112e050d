//! `quartermaster as workspaces-controller`: the controller of Kubeflow Workspaces and its admission
//! webhooks, with the flags, variables and defaults of the original.

use std::time::Duration;

use cluster::client::Target;
use workspaces::controller::{self, GatewayApi, Istio};

use crate::{
    cli::{Bind, ClusterChoice, Own, WorkspacesController},
    failure::Failure,
    output,
    signals::Signals,
    wiring::{
        manager::{Manager, Settings},
        webhooks::{self, Choice, Way},
    },
};

/// How long open requests may go on after a stop.
const GRACE: Duration = Duration::from_secs(5);

pub(crate) fn run(flags: WorkspacesController, log: Option<&str>) -> Result<(), Failure> {
    let zap = &flags.zap;
    super::log(log.or_else(|| zap.zap_log_level.as_deref().map(level)))?;
    let ignored = [
        ("--zap-devel", &zap.zap_devel),
        ("--zap-encoder", &zap.zap_encoder),
        ("--zap-stacktrace-level", &zap.zap_stacktrace_level),
        ("--zap-time-encoding", &zap.zap_time_encoding),
    ];
    for (flag, _) in ignored.into_iter().filter(|(_, value)| value.is_some()) {
        output::note(&format!("warning: {flag} changes nothing here; see --log"));
    }
    let settings = settings(flags)?;
    super::block_on(async {
        let mut signals = Signals::new()?;
        let manager = tokio::select! {
            manager = Manager::start(settings) => manager?,
            // A cluster that never answers must not hold up a stop.
            () = signals.next() => return Ok(()),
        };
        output::note(&format!("Controlling the workspaces of {}", manager.cluster()));
        for (what, url) in manager.urls() {
            output::note(&format!("  {what} {url}"));
        }
        manager.stop(GRACE, signals).await;
        Ok(())
    })
}

/// Our word for a level of the original: a name, or a number for how much more than usual.
fn level(zap: &str) -> &str {
    match zap {
        "panic" | "dpanic" | "fatal" => "error",
        "1" => "debug",
        number if number.parse::<u8>().is_ok() => "trace",
        name => name,
    }
}

fn gateway_api(own: &Own) -> Result<Option<GatewayApi>, Failure> {
    if !own.use_gateway_api {
        return Ok(None);
    }
    let gateway = own.gateway_name.clone().ok_or_else(|| {
        Failure::usage("HTTPRoutes need a gateway")
            .hint("say --gateway-name NAMESPACE/NAME, or leave --use-gateway-api out")
    })?;
    let hosts = own.gateway_hosts.clone().map_or_else(Vec::new, |hosts| hosts.0);
    Ok(Some(GatewayApi { gateway, hosts }))
}

fn settings(flags: WorkspacesController) -> Result<Settings, Failure> {
    let (istio_hosts, webhooks) = (flags.hosts(), flags.webhooks());
    if flags.use_istio && flags.istio_gateway.is_empty() {
        return Err(Failure::usage("VirtualServices need a gateway")
            .hint("say --istio-gateway NAMESPACE/NAME, or leave --use-istio out"));
    }
    let own = flags.own;
    let gateway_api = gateway_api(&own)?;
    let target = match own.cluster {
        None => Target::Auto,
        Some(ClusterChoice::Elsewhere(target)) => target,
        Some(ClusterChoice::Embedded(dir)) => {
            let file = dir.join("kubeconfig");
            return Err(Failure::usage(
                "a cluster of our own has its controller in `quartermaster up`",
            )
            .hint(format!("while that runs, use KUBECONFIG={}", file.display())));
        }
    };
    let istio = flags.use_istio.then_some(Istio {
        gateway: flags.istio_gateway,
        hosts: istio_hosts,
        cluster_domain: flags.cluster_domain,
    });
    let options = controller::Options {
        workers: flags.max_concurrent_reconciles.into(),
        istio,
        gateway_api,
        ..controller::Options::default()
    };
    let webhooks = match own.webhook_bind_address {
        Bind(Some(place)) if webhooks => {
            let way = match own.webhook_url {
                Some(url) => Way::Url(url),
                None => Way::Service(own.webhook_service),
            };
            let certificates = match own.webhook_cert_secret {
                Some(secret) => Choice::Secret(secret),
                None if own.webhook_cert_dir.join("tls.crt").exists() => {
                    Choice::Directory(own.webhook_cert_dir)
                }
                None => Choice::Own,
            };
            let http2 = flags.enable_http2;
            Some((place, webhooks::Options { way, certificates, install: true, http2 }))
        }
        Bind(_) => None,
    };
    let (webhook_address, webhooks) = webhooks.unzip();
    Ok(Settings {
        target,
        metrics: flags.metrics_bind_address.0,
        metrics_secure: flags.metrics_secure,
        http2: flags.enable_http2,
        probes: flags.health_probe_bind_address.0,
        leader_elect: flags.leader_elect,
        webhook_address,
        webhooks,
        options,
    })
}
