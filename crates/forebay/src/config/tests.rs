//! What the configuration accepts, what it refuses, and the words in which it does.

mod environment;
mod spool;

use std::path::Path;
use std::time::Duration;

use forebay_core::{AckMode, OnConfigError, OnFull, Ordering};

use super::*;
use crate::diagnostics::{Style, render};

/// The sample of the manual.
const SAMPLE: &str = include_str!("sample.toml");

/// A directory with a `forebay.toml` and whatever else a case needs.
struct Case {
    directory: tempfile::TempDir,
    inputs: Inputs,
    rule: Option<CommandLineRule>,
    machine: Machine,
}

impl Case {
    fn new(toml: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("rules.d")).unwrap();
        let case = Self {
            inputs: Inputs {
                file: Some(directory.path().join("forebay.toml")),
                ..Inputs::default()
            },
            directory,
            rule: None,
            machine: Machine {
                cores: 2,
                memory: 4 << 30,
                descriptors: 1024,
                host_name: "host-1".into(),
                terminal: false,
            },
        };
        case.with_file("forebay.toml", toml)
    }

    fn with_file(self, name: &str, text: &str) -> Self {
        let path = self.directory.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    fn with_environment(mut self, name: &str, value: &str) -> Self {
        self.inputs.environment.push((name.into(), value.into()));
        self
    }

    fn with_set(mut self, setting: &str) -> Self {
        self.inputs.set.push(setting.into());
        self
    }

    fn with_memory(mut self, bytes: u64) -> Self {
        self.machine.memory = bytes;
        self
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    fn load(&self) -> Loaded {
        load(&self.inputs, self.rule.as_ref(), &self.machine)
    }

    /// The configuration; what is wrong with it is shown when there is something.
    fn config(&self) -> Config {
        let loaded = self.load();
        let text = self.text(&loaded.report);
        loaded.config.unwrap_or_else(|| panic!("refused:\n{text}"))
    }

    /// What is wrong, with the directory left out.
    fn refused(&self) -> String {
        let loaded = self.load();
        let text = self.text(&loaded.report);
        assert!(loaded.config.is_none(), "accepted:\n{text}");
        text
    }

    fn text(&self, report: &Report) -> String {
        let directory = format!("{}/", self.directory.path().display());
        render(report, Style::Plain).replace(&directory, "")
    }
}

#[test]
fn the_sample_loads_without_a_word() {
    let case = Case::new(SAMPLE);
    let loaded = case.load();
    assert_eq!(case.text(&loaded.report), "");
    let config = loaded.config.unwrap();
    assert_eq!(config.server.name, "edge-1");
    assert_eq!(config.server.ack, AckMode::Spool);
    assert_eq!(config.spool.max_bytes, Some(16 << 30));
    assert_eq!(config.server.data_dir, case.path("data"));
    assert_eq!(config.listeners.len(), 1);
    assert_eq!(config.listeners[0].name, "local");
    assert_eq!(config.listeners[0].limits.receive_maximum, 256);
    assert_eq!(
        config.kinesis.endpoint.as_deref(),
        Some("http://127.0.0.1:4567")
    );
    assert_eq!(config.kinesis.linger, Duration::from_millis(10));
    assert_eq!(config.kinesis.rate_limit, Some(100));
    assert_eq!(config.memory.on_full, OnFull::Block);
    let rules = config.rule_set.rules();
    assert_eq!(rules.len(), 1);
    assert_eq!(rules[0].name(), "telemetry");
    assert_eq!(rules[0].settings().ordering, Some(Ordering::Strict));
}

#[test]
fn without_a_file_there_is_loopback_and_nothing_else() {
    let mut case = Case::new("");
    case.inputs.file = None;
    let config = case.config();
    assert_eq!(config.files, Vec::<std::path::PathBuf>::new());
    assert_eq!(config.listeners[0].name, "default");
    assert_eq!(config.listeners[0].bind, "127.0.0.1:1883".parse().unwrap());
    assert_eq!(config.admin.bind, Some("127.0.0.1:9464".parse().unwrap()));
    assert_eq!(config.server.name, "host-1");
    assert_eq!(config.server.workers, 2);
    assert_eq!(config.memory.limit, 3 << 30);
    assert_eq!(config.log.format, LogFormat::Json);
    // 80 % of what 64 reserved descriptors leave of 1 024.
    assert_eq!(config.limits.connections, 768);
    assert_eq!(
        config.kinesis.record_deadline,
        Some(Duration::from_secs(300))
    );
}

#[test]
fn later_layers_win_and_tables_merge() {
    let file = "[kinesis]\nlinger = \"1ms\"\nordering = \"none\"\nregion = \"file\"\n";
    let case = Case::new(file)
        .with_file("conf.d/20-b.toml", "[kinesis]\nlinger = \"3ms\"\n")
        .with_file(
            "conf.d/10-a.toml",
            "[kinesis]\nlinger = \"2ms\"\nregion = \"fragment\"\n",
        )
        .with_file("conf.d/ignored.txt", "not toml");
    let config = case.config();
    assert_eq!(config.kinesis.linger, Duration::from_millis(3));
    assert_eq!(config.kinesis.region.as_deref(), Some("fragment"));
    assert_eq!(config.kinesis.ordering, Ordering::None);
    assert_eq!(config.files.len(), 3);

    let case = case.with_environment("FOREBAY__KINESIS__LINGER", "4ms");
    let case = case.with_environment("FOREBAY__LISTENERS__PLAIN__BIND", "127.0.0.1:0");
    let config = case.config();
    assert_eq!(config.kinesis.linger, Duration::from_millis(4));
    assert_eq!(config.listeners[0].name, "plain");

    let case = case
        .with_set("kinesis.linger=5ms")
        .with_set("limits.connections = 7");
    let config = case.config();
    assert_eq!(config.kinesis.linger, Duration::from_millis(5));
    assert_eq!(config.limits.connections, 7);
    assert_eq!(
        config.overrides,
        [
            "FOREBAY__KINESIS__LINGER=4ms",
            "FOREBAY__LISTENERS__PLAIN__BIND=127.0.0.1:0",
            "--set kinesis.linger=5ms",
            "--set limits.connections = 7",
        ]
    );
}

#[test]
fn environment_and_options_are_toml_or_plain_text() {
    let case = Case::new(SAMPLE)
        .with_environment("FOREBAY__SERVER__ACK", "accept")
        .with_environment("FOREBAY__KINESIS__SEND_ON_IDLE", "false")
        .with_environment("FOREBAY__LISTENERS__LOCAL__VERSIONS", "[\"5.0\"]")
        .with_set("rule.\"telemetry\".ack=\"accept\"");
    let config = case.config();
    assert_eq!(config.server.ack, AckMode::Accept);
    assert!(!config.kinesis.send_on_idle);
    assert!(!config.listeners[0].v3 && config.listeners[0].v5);
    assert_eq!(
        config.rule_set.rules()[0].settings().ack,
        Some(AckMode::Accept)
    );
}

#[test]
fn paths_start_where_they_are_written() {
    let case = Case::new("[server]\ndata_dir = \"state\"\n");
    assert_eq!(case.config().server.data_dir, case.path("state"));
    let case = case.with_set("server.data_dir=elsewhere");
    assert_eq!(case.config().server.data_dir, Path::new("elsewhere"));
}

#[test]
fn the_aws_profile_is_another_column_and_keys_win_over_it() {
    let case = Case::new(
        "[limits]\nprofile = \"aws\"\nreceive_maximum = 50\n\
         [listeners.a]\nbind = \"127.0.0.1:0\"\n[listeners.a.limits]\npayload_bytes = \"1KiB\"\n",
    );
    let config = case.config();
    let limits = &config.limits.listener;
    assert_eq!((limits.topic_bytes, limits.topic_levels), (256, 8));
    assert_eq!(limits.payload_bytes, 128 << 10);
    assert_eq!(limits.receive_maximum, 50);
    assert_eq!(config.mqtt.keep_alive_min, Duration::from_secs(30));
    let own = &config.listeners[0].limits;
    assert_eq!((own.payload_bytes, own.packet_bytes), (1 << 10, 65 << 10));
    assert_eq!(own.receive_maximum, 50);
}

#[test]
fn a_rule_from_the_command_line_needs_no_file() {
    let mut case = Case::new("");
    case.rule = Some(CommandLineRule {
        stream: "s".into(),
        sql: "SELECT * FROM 'dt/#'".into(),
        partition_key: "${topic()}".into(),
    });
    let config = case.config();
    assert_eq!(config.rule_set.rules()[0].filter(), Some("dt/#"));
}

#[test]
fn documents_of_the_directory_are_rules() {
    let document = r#"{"sql": "SELECT * FROM 'some/topic'", "ruleDisabled": false,
        "actions": [{"kinesis": {"streamName": "my_kinesis_stream", "partitionKey": "${topic()}",
        "roleArn": "arn:aws:iam::123456789012:role/aws_iot_kinesis"}}]}"#;
    let case = Case::new("")
        .with_file("rules.d/to_kinesis.json", document)
        .with_file("other/to_kinesis.json", document);
    // Beside the configuration file, wherever the process was started.
    let config = case.config();
    assert_eq!(config.rule_set.rules()[0].name(), "to_kinesis");
    assert_eq!(config.rules.dir, case.path("rules.d"));
    let case = case.with_file("forebay.toml", "[rules]\ndir = \"other\"\n");
    assert_eq!(case.config().rules.dir, case.path("other"));
}

#[test]
fn unknown_names_are_errors_with_a_suggestion() {
    let case = Case::new(
        "[kinesis]\nlingr = \"10ms\"\naggregation = \"none\"\n[mqt]\nx = 1\n\
         [listeners.tcp]\nbind = \"127.0.0.1:0\"\ntls.cert_file = \"c.pem\"\n\
         [listeners.tcp.limits]\ntopic_alias = 1\n",
    );
    insta::assert_snapshot!(case.refused());
}

#[test]
fn values_out_of_range_name_the_range() {
    let case = Case::new(
        "[server]\nname = \"a b\"\nworkers = 0\nack = \"spooled\"\n\
         [kinesis]\nlinger = \"2m\"\nrecords_per_request = 501\nbytes_per_request = \"1KiB\"\nordering = \"keys\"\n\
         [memory]\nper_stream_share = 1.5\n",
    );
    insta::assert_snapshot!(case.refused());
}

#[test]
fn values_of_another_type_say_what_is_expected() {
    let case = Case::new(
        "log = \"debug\"\n[shutdown]\ndeadline = 25\n[memory]\ningest = \"16MB\"\nlanes = \"lots\"\n\
         [kinesis]\nsend_on_idle = \"yes\"\nrate_limit = \"fast\"\n[mqtt]\nkeep_alive_zero = \"never\"\n\
         [admin]\nbind = 9464\n[listeners.a]\nversions = [\"3.1\"]\n",
    );
    insta::assert_snapshot!(case.refused());
}

#[test]
fn a_text_that_is_not_toml_is_shown_where_it_breaks() {
    let case = Case::new("[server]\nname = \"edge-1\n\n[kinesis]\nlinger = 10 ms\n");
    insta::assert_snapshot!(case.refused());
}

#[test]
fn a_listener_that_others_reach_needs_a_decision() {
    let open = "[listeners.lan]\nbind = \"0.0.0.0:1883\"\n";
    insta::assert_snapshot!(Case::new(open).refused());
    let decided = format!("{open}allow_anonymous = true\n");
    Case::new(&decided).config();
    let admin = Case::new("[admin]\nbind = \"0.0.0.0:9464\"\n").refused();
    assert!(admin.contains("error[C006]"), "{admin}");
}

#[test]
fn budgets_that_do_not_fit_are_added_up() {
    let case = Case::new("[memory]\nlimit = \"128MiB\"\n");
    insta::assert_snapshot!(case.refused());
    let case = Case::new("[limits]\nconnections = 100000\n").with_memory(1 << 30);
    insta::assert_snapshot!(case.refused());
}

#[test]
fn more_connections_than_files_are_a_warning() {
    let loaded = Case::new("[limits]\nconnections = 2000\n").load();
    assert!(loaded.config.is_some());
    assert_eq!(loaded.report.entries()[0].code, "C005");
    assert!(loaded.report.entries()[0].title.ends_with("960"));
}

#[test]
fn policies_that_lose_records_need_accept() {
    let rule = "[[rules.inline]]\nname = \"t\"\nsql = \"SELECT * FROM 'a'\"\naction.kinesis.stream_name = \"s\"\n";
    let inherited = format!("[memory]\non_full = \"drop_newest\"\n{rule}");
    insta::assert_snapshot!(Case::new(&inherited).refused());
    let own = format!("{rule}[rule.t]\nack = \"stored\"\non_full = \"drop_oldest\"\n");
    let own = Case::new(&own).refused();
    assert!(own.contains("error[R122]"), "{own}");
    let accepted = format!("{rule}[rule.t]\nack = \"accept\"\non_full = \"drop_oldest\"\n");
    Case::new(&accepted).config();
    let spooled = format!("{rule}[rule.t]\nack = \"spool\"\n[memory]\non_full = \"drop_oldest\"\n");
    let spooled = Case::new(&spooled).refused();
    assert!(
        spooled.contains("the rule has ack = \"spool\""),
        "{spooled}"
    );
}

#[test]
fn a_rule_says_what_happens_when_aws_refuses_its_stream() {
    let rule = "[[rules.inline]]\nname = \"t\"\nsql = \"SELECT * FROM 'a'\"\naction.kinesis.stream_name = \"s\"\n";
    for (value, expected) in [
        ("hold", OnConfigError::Hold),
        ("error_action", OnConfigError::ErrorAction),
    ] {
        let text = format!("{rule}[rule.t]\non_config_error = \"{value}\"\n");
        let config = Case::new(&text).config();
        assert_eq!(config.rule_set.rules()[0].on_config_error(), expected);
    }
    let text = format!("{rule}[rule.t]\non_config_error = \"drop\"\n");
    insta::assert_snapshot!(Case::new(&text).refused());
}

#[test]
fn plain_http_leaves_the_house_only_when_told_to() {
    let public = "[kinesis]\nendpoint = \"http://8.8.8.8:4567\"\n";
    insta::assert_snapshot!(Case::new(public).refused());
    let told = Case::new(&format!("{public}allow_plaintext = true\n")).load();
    assert!(told.config.is_some());
    assert_eq!(told.report.warnings(), 1);
    Case::new("[kinesis]\nendpoint = \"http://10.0.0.7:4567\"\n").config();
}

#[test]
fn mistakes_in_environment_and_options_are_shown_there() {
    let case = Case::new("")
        .with_environment("FOREBAY__KINESIS__LINGER", "soon")
        .with_environment("FOREBAY__KINESIS", "")
        .with_environment("FOREBAY__server__name", "x")
        .with_set("kinesis.order=key")
        .with_set("memory.limit");
    insta::assert_snapshot!(case.refused());
}

#[test]
fn an_inline_rule_can_republish_and_have_an_error_action() {
    let config = Case::new(
        "[[rules.inline]]\nname = \"t\"\nsql = \"SELECT * FROM 'a'\"\n\
         actions = [{ republish = { topic = \"b\", qos = 1, headers = { content_type = \"x\", \
         user_properties = [{ key = \"k\", value = \"v\" }] } } }]\n\
         [rules.inline.error_action.kinesis]\nstream_name = \"errors\"\n",
    )
    .config();
    let rule = config.rule_set.rule("t").expect("the rule");
    assert_eq!(
        serde_json::Value::Object(rule.document().to_payload()),
        serde_json::json!({
            "sql": "SELECT * FROM 'a'", "awsIotSqlVersion": "2015-10-08", "ruleDisabled": false,
            "actions": [{"republish": {"topic": "b", "qos": 1, "roleArn": "",
                "headers": {"contentType": "x", "userProperties": [{"key": "k", "value": "v"}]}}}],
            "errorAction": {"kinesis": {"streamName": "errors", "roleArn": ""}},
        })
    );
    insta::assert_snapshot!(
        Case::new(
            "[[rules.inline]]\nname = \"a\"\nsql = \"SELECT * FROM 'a'\"\n\
             actions = [{ republish = { qos = 2, header = 1 } }, { kinesis = {}, republish = {} }]\n\
             error_action.republish = { topic = \"b\", headers = { user_properties = { k = \"v\" } } }\n",
        )
        .refused()
    );
}

#[test]
fn inline_rules_are_judged_like_documents() {
    let case = Case::new(
        "[[rules.inline]]\nname = \"a-b\"\nsql = \"SELECT * FROM 'a'\"\naction.kinesis.stream_name = \"s\"\n\
         [[rules.inline]]\nsql = \"SELECT * FROM 'a'\"\n\
         [[rules.inline]]\nname = \"c\"\nsql = \"SELECT * FROM 'a'\"\naction.kinesis.stream = \"s\"\n\
         [[rules.inline]]\nname = \"d\"\nsql = \"SELECT * FROM 'a'\"\naction.lambda = {}\n\
         [[rules.inline]]\nname = \"e\"\nsql = \"SELECT * FROM 'a'\"\nsql_version = \"2017-01-01\"\n",
    );
    insta::assert_snapshot!(case.refused());
}

#[test]
fn one_name_twice_is_refused() {
    let rule = "[[rules.inline]]\nname = \"t\"\nsql = \"SELECT * FROM 'a'\"\naction.kinesis.stream_name = \"s\"\n";
    let case = Case::new(&format!("{rule}{rule}"));
    insta::assert_snapshot!(case.refused());
    let case = Case::new(
        "[listeners.a]\nbind = \"127.0.0.1:1883\"\n[listeners.b]\nbind = \"127.0.0.1:1883\"\n",
    );
    let text = case.refused();
    assert!(
        text.contains("listeners a and b both listen on 127.0.0.1:1883"),
        "{text}"
    );
}

#[test]
fn bad_documents_say_where_and_why() {
    let kinesis = r#"[{"kinesis": {"streamName": "s", "partitionKey": "k", "roleArn": "r"}}]"#;
    let case = Case::new("[rules]\ndir = \"rules.d\"\n")
        .with_file("rules.d/a_broken.json", "{\n  \"sql\": \"SELECT * FROM 'a'\",\n  \"actions\": [}\n")
        .with_file("rules.d/b_form.json", "{\"rules\": []}")
        .with_file("rules.d/c_member.json", &kinesis_document("'a'", "\"streamNam\": \"s\", \"roleArn\": \"r\""))
        .with_file("rules.d/d_role.json", &kinesis_document("'a'", "\"streamName\": \"s\""))
        .with_file(
            "rules.d/e_name.json",
            &format!("{{\"ruleName\": \"other\", \"sql\": \"SELECT * FROM 'a'\", \"actions\": {kinesis}}}"),
        )
        .with_file("rules.d/f-dash.json", &format!("{{\"sql\": \"SELECT * FROM 'a'\", \"actions\": {kinesis}}}"));
    insta::assert_snapshot!(case.refused());
}

#[test]
fn bad_statements_are_shown_where_they_stand() {
    let case = Case::new(
        "[rules]\ndir = \"rules.d\"\n\
         [[rules.inline]]\nname = \"inline\"\nsql = \"SELECT uper(color) AS c FROM 'dt/#'\"\naction.kinesis.stream_name = \"s\"\n",
    )
    .with_file("rules.d/filter.json", &kinesis_document("'a/#/b'", "\"streamName\": \"s\", \"roleArn\": \"r\""))
    .with_file("rules.d/template.json", &kinesis_document("'a'", "\"streamName\": \"s${topic(\", \"roleArn\": \"r\""));
    insta::assert_snapshot!(case.refused());
}

#[test]
fn settings_for_a_rule_that_does_not_exist_are_a_warning() {
    let case = Case::new(&format!("{SAMPLE}\n[rule.telemtry]\nack = \"accept\"\n"));
    let loaded = case.load();
    assert!(loaded.config.is_some());
    insta::assert_snapshot!(case.text(&loaded.report));
}

#[test]
fn a_file_that_was_named_has_to_exist() {
    let mut case = Case::new("");
    case.inputs.file = Some(case.path("missing.toml"));
    let text = case.refused();
    assert!(
        text.starts_with("error[C010]: missing.toml cannot be read"),
        "{text}"
    );
}

fn kinesis_document(filter: &str, members: &str) -> String {
    format!(
        "{{\"sql\": \"SELECT * FROM {filter}\", \"actions\": [{{\"kinesis\": {{{members}}}}}]}}"
    )
}
