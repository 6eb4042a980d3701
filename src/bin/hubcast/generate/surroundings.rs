//! Files for what stands around a server, made for the options given: proxies,
//! service managers, monitoring. Each is a template beside this file.

use std::fmt::Write;
use std::time::Duration;

use hubcast::Config;

use crate::cli::Options;
use crate::json::quoted;
use crate::listen::Address;

const UNIT: &str = include_str!("../../../../packaging/hubcast.service");
/// Options that say where to listen, and what is asked for here, each with its
/// value.
const LEFT_OUT: [&str; 6] = ["--listen", "-l", "--bind", "--address", "--port", "-p"];
const GENERATE: &str = "--generate";
/// Descriptors beside those of clients and handshakes.
const SPARE_FILES: usize = 256;
/// What a service manager waits for beyond the shutdown's own deadlines.
const SPARE_STOP: Duration = Duration::from_secs(5);

/// What the templates are filled from.
pub(crate) struct Surroundings<'a> {
    options: &'a Options,
    config: Config,
    address: Address,
    /// What was given on the command line and by variables.
    arguments: Vec<String>,
}

impl Surroundings<'_> {
    pub(crate) fn new(
        options: &Options,
        arguments: Vec<String>,
    ) -> Result<Surroundings<'_>, String> {
        let mut addresses = options.listen()?.into_iter();
        Ok(Surroundings {
            options,
            config: options.config()?,
            address: addresses.next().ok_or("there is no address to listen on")?,
            arguments: without(arguments, &[GENERATE]),
        })
    }

    pub(crate) fn nginx(&self) -> Result<String, String> {
        self.only_http()?;
        let s = self.s();
        let proxy_pass = match &self.address {
            Address::Unix(path) => format!("http{s}://unix:{}", path.display()),
            tcp => format!("http{s}://{}", near(tcp)),
        };
        let ping = self.config.ping_interval + self.config.pong_timeout;
        let idle = match self.config.ping_interval.is_zero() {
            true => Duration::from_secs(24 * 60 * 60),
            false => ping.max(Duration::from_secs(60)),
        };
        Ok(filled(
            include_str!("nginx.conf"),
            &[
                ("trust", self.trusted()),
                ("proxy_pass", proxy_pass),
                ("idle", seconds(idle)),
                ("message", self.config.max_message_size.to_string()),
            ],
        ))
    }

    pub(crate) fn caddy(&self) -> Result<String, String> {
        self.only_http()?;
        let upstream = match &self.address {
            Address::Unix(path) if self.s().is_empty() => format!("unix/{}", path.display()),
            tcp if self.s().is_empty() => near(tcp),
            tcp => format!("https://{}", near(tcp)),
        };
        let values = [("trust", self.trusted()), ("upstream", upstream)];
        Ok(filled(include_str!("Caddyfile"), &values))
    }

    /// The packages' unit, with these options.
    pub(crate) fn systemd(&self) -> String {
        let mut command = "ExecStart=/usr/bin/hubcast".to_owned();
        for argument in &self.arguments {
            let _ = write!(command, " {}", of_systemd(argument));
        }
        let mut unit = UNIT
            .replace("ExecStart=/usr/bin/hubcast", &command)
            .replace(
                "TimeoutStopSec=15s",
                &format!("TimeoutStopSec={}s", self.stop()),
            )
            .replace(
                "LimitNOFILE=65536",
                &format!("LimitNOFILE={}", self.files()),
            );
        if matches!(self.address, Address::Tcp(_, port) if (1..1024).contains(&port)) {
            let low = "CAP_NET_BIND_SERVICE";
            unit = unit
                .replace(
                    "CapabilityBoundingSet=",
                    &format!("CapabilityBoundingSet={low}"),
                )
                .replace(
                    "AmbientCapabilities=",
                    &format!("AmbientCapabilities={low}"),
                )
                .replace("PrivateUsers=yes\n", "");
        }
        self.with_warning(unit)
    }

    pub(crate) fn compose(&self) -> String {
        let health = match self.health() {
            Some(url) => format!("test: [CMD, /hubcast, probe, \"{url}\"]"),
            None => "disable: true # a probe speaks no TLS: add --plain-listen".to_owned(),
        };
        let text = filled(
            include_str!("compose.yaml"),
            &[
                ("arguments", self.in_container()),
                ("port", self.port().to_string()),
                ("stop", self.stop()),
                ("health", health),
                ("files", self.files().to_string()),
            ],
        );
        self.with_warning(text)
    }

    pub(crate) fn kubernetes(&self) -> String {
        let port = match &self.config.admin_listen {
            Some(admin) => port_of(admin),
            None => self.port(),
        };
        let scheme = if self.s().is_empty() {
            ""
        } else {
            ", scheme: HTTPS"
        };
        let probe = |path: &str| match self.config.admin {
            true => format!("httpGet: {{path: {path}, port: {port}{scheme}}}"),
            false => format!("tcpSocket: {{port: {}}}", self.port()),
        };
        let replicas = if self.has_engine() { "2" } else { "1" };
        let text = filled(
            include_str!("kubernetes.yaml"),
            &[
                ("replicas", replicas.to_owned()),
                ("stop", self.stop()),
                ("arguments", self.in_container()),
                ("port", self.port().to_string()),
                ("ready", probe("/-/readyz")),
                ("alive", probe("/-/healthz")),
            ],
        );
        self.with_warning(text)
    }

    pub(crate) fn rules(&self) -> String {
        let place = match (&self.config.admin_listen, &self.address) {
            (Some(place), _) => place.clone(),
            (None, Address::Unix(path)) => format!("unix:{}", path.display()),
            (None, tcp) => near(tcp),
        };
        let clients = match self.config.max_clients {
            0 => String::new(),
            clients => clients.to_string(),
        };
        let engine = match self.has_engine() {
            true => include_str!("engine-rules.yaml").trim_end(),
            false => "",
        };
        let rules = include_str!("rules.yaml");
        let rules = match clients.is_empty() {
            true => without_rule(rules, "HubcastNearlyFull"),
            false => rules.to_owned(),
        };
        filled(
            &rules,
            &[
                ("metrics", format!("http{}://{place}/-/metrics", self.s())),
                ("clients", clients),
                ("queue_total", self.config.queue_total.to_string()),
                ("engine", engine.to_owned()),
            ],
        )
    }

    fn s(&self) -> &'static str {
        if self.options.has_tls() { "s" } else { "" }
    }

    fn has_engine(&self) -> bool {
        #[cfg(feature = "redis")]
        return self.config.engine.is_some();
        #[cfg(not(feature = "redis"))]
        false
    }

    fn only_http(&self) -> Result<(), String> {
        match self.config.proxy_protocol {
            true => {
                Err("with --proxy-protocol, a proxy of TCP streams must stand before it".into())
            }
            false => Ok(()),
        }
    }

    /// Which proxies are to be trusted, where none are yet.
    fn trusted(&self) -> String {
        match (self.config.trust_proxy.as_slice(), &self.address) {
            ([], Address::Unix(_)) => "unix".to_owned(),
            ([], _) => "127.0.0.1".to_owned(),
            (all, _) => all.join(","),
        }
    }

    fn port(&self) -> u16 {
        match &self.address {
            Address::Tcp(_, port) if *port != 0 => *port,
            _ => 8080,
        }
    }

    /// For how many seconds to wait for the end.
    fn stop(&self) -> String {
        seconds(self.config.drain + self.config.shutdown_timeout + SPARE_STOP)
    }

    fn files(&self) -> usize {
        match self.config.max_clients {
            0 => 65536,
            clients => clients + 2 * self.config.max_handshakes + SPARE_FILES,
        }
    }

    /// What answers a health check without TLS, in a container.
    fn health(&self) -> Option<String> {
        let plain = self.config.plain_listen.as_deref().map(port_of);
        let port = match (&self.config.admin_listen, self.s()) {
            _ if !self.config.admin => return None,
            (Some(admin), "") => port_of(admin),
            (None, "") => self.port(),
            (Some(_), _) => return None,
            (None, _) => plain?,
        };
        Some(format!("http://127.0.0.1:{port}/-/healthz"))
    }

    /// The arguments as strings of YAML. In a container, other addresses reach
    /// the program only where it listens on all.
    fn in_container(&self) -> String {
        let mut all = without(self.arguments.clone(), &LEFT_OUT);
        all.insert(0, format!("--listen=0.0.0.0:{}", self.port()));
        let quoted: Vec<String> = all.iter().map(|argument| quoted(argument)).collect();
        quoted.join(", ")
    }

    fn with_warning(&self, text: String) -> String {
        let is_secret = |argument: &String| {
            let name = argument.split('=').next().unwrap_or_default();
            matches!(name, "--token" | "--publish-token" | "--admin-token")
        };
        match self.arguments.iter().any(is_secret) {
            true => format!("# It holds a token: let nobody else read this file.\n{text}"),
            false => text,
        }
    }
}

/// The dashboard: one panel for each figure, two in a row.
pub(crate) fn grafana() -> String {
    let mut panels: Vec<(String, Vec<String>)> = Vec::new();
    for line in include_str!("grafana.txt").lines() {
        match line.split('|').collect::<Vec<_>>()[..] {
            ["+", expr, legend] => {
                if let Some((_, targets)) = panels.last_mut() {
                    targets.push(target(expr, legend));
                }
            }
            [title, unit, expr, legend] => {
                let number = panels.len();
                let place = format!(
                    "{{\"h\": 8, \"w\": 12, \"x\": {}, \"y\": {}}}",
                    number % 2 * 12,
                    number / 2 * 8
                );
                let head = format!(
                    "{{\"type\": \"timeseries\", \"id\": {}, \"title\": {}, \"gridPos\": {place}, \
                     \"datasource\": {SOURCE}, \
                     \"fieldConfig\": {{\"defaults\": {{\"unit\": {}, \"min\": 0}}}}",
                    number + 1,
                    quoted(title),
                    quoted(unit)
                );
                panels.push((head, vec![target(expr, legend)]));
            }
            _ => {}
        }
    }
    let panels = panels.into_iter();
    let panels: Vec<String> = panels
        .map(|(head, targets)| format!("    {head}, \"targets\": [{}]}}", targets.join(", ")))
        .collect();
    format!(
        "{{\n  \"title\": \"hubcast\",\n  \"uid\": \"hubcast\",\n  \"schemaVersion\": 38,\n  \
         \"refresh\": \"10s\",\n  \"time\": {{\"from\": \"now-1h\", \"to\": \"now\"}},\n  \
         \"templating\": {{\"list\": [{{\"type\": \"datasource\", \"name\": \"source\", \
         \"query\": \"prometheus\"}}]}},\n  \"panels\": [\n{}\n  ]\n}}\n",
        panels.join(",\n")
    )
}

/// The data source that the dashboard's viewer chooses.
const SOURCE: &str = "{\"type\": \"prometheus\", \"uid\": \"${source}\"}";

fn target(expr: &str, legend: &str) -> String {
    let (expr, legend) = (quoted(expr), quoted(legend));
    format!("{{\"expr\": {expr}, \"legendFormat\": {legend}, \"datasource\": {SOURCE}}}")
}

/// Fills in the values. A line of nothing but a value that is empty goes.
fn filled(template: &str, values: &[(&str, String)]) -> String {
    let mut out = String::new();
    for line in template.lines() {
        let mut line = line.to_owned();
        let was_blank = line.trim().is_empty();
        for (name, value) in values {
            line = line.replace(&["{{", name, "}}"].concat(), value);
        }
        if was_blank || !line.trim().is_empty() {
            out.push_str(&line);
            out.push('\n');
        }
    }
    out
}

/// The rules without one.
fn without_rule(rules: &str, name: &str) -> String {
    let (head, rest) = rules.split_once("      - alert:").unwrap_or((rules, ""));
    let rules = rest.split("      - alert:");
    let kept = rules.filter(|rule| !rule.trim_start().starts_with(name));
    kept.fold(head.to_owned(), |all, rule| all + "      - alert:" + rule)
}

/// The arguments without these options and their values.
fn without(arguments: Vec<String>, names: &[&str]) -> Vec<String> {
    let mut kept = Vec::new();
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        let (name, value) = match argument.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (argument.as_str(), None),
        };
        let is_joined = !name.starts_with("--")
            && names
                .iter()
                .any(|n| n.len() == 2 && name.starts_with(n) && name.len() > 2);
        match names.contains(&name) {
            true if value.is_none() => drop(arguments.next()),
            true => {}
            false if is_joined => {}
            false => kept.push(argument),
        }
    }
    kept
}

/// Where a program on this machine reaches it.
fn near(address: &Address) -> String {
    match address {
        Address::Tcp(host, port) if host.is_empty() || host == "0.0.0.0" || host == "::" => {
            format!("127.0.0.1:{port}")
        }
        other => other.to_string(),
    }
}

fn port_of(address: &str) -> u16 {
    let port = address
        .rsplit(':')
        .next()
        .and_then(|port| port.parse().ok());
    port.unwrap_or_default()
}

/// Whole seconds, rounded up.
fn seconds(time: Duration) -> String {
    (time.as_secs() + u64::from(time.subsec_nanos() > 0)).to_string()
}

/// A word of a command line as systemd reads it (systemd.service(5)).
fn of_systemd(text: &str) -> String {
    let text = text.replace('%', "%%").replace('$', "$$");
    let is_plain = |c: char| c.is_alphanumeric() || "-_=:./,%$@+".contains(c);
    match !text.is_empty() && text.chars().all(is_plain) {
        true => text,
        false => quoted(&text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(all: &[&str]) -> Vec<String> {
        all.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn options_are_left_out_with_their_values() {
        let given = [
            "-q",
            "--listen",
            "a:1",
            "-l",
            "b:2",
            "--port=3",
            "-la:4",
            "--history=5",
        ];
        let kept = without(strings(&given), &LEFT_OUT);
        assert_eq!(kept, ["-q", "--history=5"]);
    }

    #[test]
    fn words_are_quoted_where_they_must_be() {
        assert_eq!(of_systemd("--room=/a/* x"), "\"--room=/a/* x\"");
        assert_eq!(of_systemd("--token=a%b$c"), "--token=a%%b$$c");
    }

    #[test]
    fn the_packages_unit_has_what_is_replaced() {
        for line in [
            "ExecStart=/usr/bin/hubcast\n",
            "TimeoutStopSec=15s\n",
            "LimitNOFILE=65536\n",
            "CapabilityBoundingSet=\n",
            "AmbientCapabilities=\n",
            "PrivateUsers=yes\n",
        ] {
            assert_eq!(UNIT.matches(line).count(), 1, "{line}");
        }
    }
}
