//! What other users of the machine and other sites in the browser must not be able to do.

use quartermaster_e2e::{Answer, LONG, Up, http_client};
use reqwest::{Method, header};

use crate::program;

/// Sends a request without the kit's token.
async fn send(up: &Up, method: Method, path: &str, headers: &[(&str, &str)]) -> Answer {
    let client = http_client().build().unwrap();
    let mut request = client.request(method, format!("{}{path}", up.api_base()));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Answer::of(request.send().await.unwrap()).await
}

#[tokio::test]
async fn only_holders_of_the_token_get_in() {
    let up = program().start().await;
    let path = "/api/v1/workspaces";
    let right = format!("Bearer {}", up.endpoints.token);
    assert_eq!(send(&up, Method::GET, path, &[("authorization", &right)]).await.status, 200);
    let wrong = format!("Bearer {}x", up.endpoints.token);
    for headers in [
        vec![],
        vec![("authorization", wrong.as_str())],
        vec![("authorization", up.endpoints.token.as_str())],
        vec![("kubeflow-userid", "admin")],
        vec![("cookie", "quartermaster=x")],
    ] {
        let answer = send(&up, Method::GET, path, &headers).await;
        assert_eq!(answer.status, 401, "{headers:?}: {answer:?}");
        let message = answer.json()["error"]["message"].as_str().unwrap().to_owned();
        assert_eq!(message, "authentication is required to access this resource");
    }
    let page = send(&up, Method::GET, "/", &[("accept", "text/html")]).await;
    assert_eq!(page.status, 401);
    assert!(page.text.contains("quartermaster open"), "{}", page.text);
}

#[tokio::test]
async fn other_sites_and_other_names_are_refused() {
    let up = program().start().await;
    let token = format!("Bearer {}", up.endpoints.token);
    let authorization = ("authorization", token.as_str());
    let apps = up.endpoints.apps.trim_end_matches('/').to_owned();
    for header in [
        ("host", "attacker.example"),
        ("host", "127.0.0.1.attacker.example:4000"),
        ("origin", "http://attacker.example"),
        ("origin", "null"),
        ("origin", apps.as_str()),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
    ] {
        for method in [Method::GET, Method::POST] {
            let headers = [authorization, header, ("content-type", "application/json")];
            let answer = send(&up, method.clone(), "/api/v1/workspaces/default", &headers).await;
            assert!(
                [400, 403, 421].contains(&answer.status.as_u16()),
                "{method} {header:?}: {answer:?}"
            );
            assert!(!answer.headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN));
        }
    }
    let own = ("origin", up.api_base());
    let answer = send(&up, Method::GET, "/api/v1/workspaces", &[authorization, own]).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn a_start_url_works_once() {
    let up = program().start().await;
    let printed = up.printed();
    let start = printed.split_whitespace().find(|word| word.contains("?ticket=")).unwrap();
    assert!(!printed.contains(&up.endpoints.token), "the token itself is never printed");
    let path = start.strip_prefix(up.api_base()).unwrap();
    let html =
        [("accept", "text/html"), ("sec-fetch-site", "none"), ("sec-fetch-mode", "navigate")];
    let answer = send(&up, Method::GET, path, &html).await.expect(303);
    let cookie = answer.headers[header::SET_COOKIE].to_str().unwrap();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    let pair = cookie.split(';').next().unwrap();
    let page = send(&up, Method::GET, "/", &[("cookie", pair), html[0]]).await.expect(200);
    assert!(
        page.headers["content-security-policy"].to_str().unwrap().starts_with("default-src 'none'")
    );
    let list = send(&up, Method::GET, "/api/v1/workspaces", &[("cookie", pair)]).await;
    assert_eq!(list.status, 200);
    let again = send(&up, Method::GET, path, &html).await;
    assert_eq!(again.status, 401, "{again:?}");

    // A restart keeps the browser signed in, on the same port.
    let port = up.api_base().to_owned();
    let (_, program) = up.stop().await;
    let up = program.listen(port.trim_start_matches("http://")).start().await;
    let list = send(&up, Method::GET, "/api/v1/workspaces", &[("cookie", pair)]).await;
    assert_eq!(list.status, 200);
}

#[tokio::test]
async fn a_workspace_is_open_to_its_owner_only() {
    let up = program().start().await;
    up.create_workspace("box", "files").await;
    up.wait_for_state("box", "Running", LONG).await;
    let visit = up.open("box").await;

    // Another user of this machine: straight to the port of the process.
    let addresses = listening(&up);
    assert!(!addresses.is_empty(), "the workspace listens somewhere");
    for address in addresses {
        let url = format!("http://{address}/workspace/connect/default/box/files/api/list/");
        assert_eq!(reqwest::get(&url).await.unwrap().status(), 401, "{url}");
    }
    // Through the proxy, without a cookie or with a used ticket.
    let apps = up.endpoints.apps.trim_end_matches('/');
    let path = "/workspace/connect/default/box/files/";
    let answer = reqwest::get(format!("{apps}{path}api/list/")).await.unwrap();
    assert!(answer.status() == 401 || answer.status() == 403, "{}", answer.status());
    // The workspace's cookie opens the workspace and nothing else.
    visit.send(Method::GET, "api/list/", Vec::new()).await.expect(200);
    let cookie = visit.cookie();
    let answer = send(&up, Method::GET, "/api/v1/workspaces", &[("cookie", &cookie)]).await;
    let cookie_names: Vec<&str> =
        cookie.split("; ").filter_map(|pair| pair.split('=').next()).collect();
    assert_eq!(answer.status, 401, "{cookie_names:?}");
}

/// Addresses at which processes of pods listen.
fn listening(up: &Up) -> Vec<std::net::SocketAddr> {
    let sockets: Vec<String> = up
        .pods()
        .keys()
        .flat_map(|pid| std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten())
        .filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok())
        .filter_map(|link| {
            Some(link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())
        })
        .collect();
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let lines = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    lines
        .filter(|fields| fields[3] == "0A" && sockets.iter().any(|inode| inode == fields[9]))
        .map(|fields| {
            let (ip, port) = fields[1].split_once(':').unwrap();
            let ip = u32::from_str_radix(ip, 16).unwrap().to_le_bytes();
            (ip, u16::from_str_radix(port, 16).unwrap()).into()
        })
        .collect()
}
