//! Destinations that misbehave, and settings that are wrong.

use std::fs;

use hyper::Version;
use jetline_testkit::{
    crm::{Behaviour, CrmServer, Script},
    http,
    process::Process,
    tls::Authority,
};
use serde_json::Value;

use crate::{
    deployment::{failed, finish, succeeded, terminate},
    standalone::Home,
    wait::until,
};

const DECLARATION: &str = "key = 'id'\ncolumns = { id = 'bigint' }\n[[deliver]]\nname = 'crm'\n";

/// A directory with records of these ids, and a declaration whose destination has these lines.
fn home(ids: u32, deliver: &str) -> Home {
    let home = Home::new();
    fs::create_dir(home.folder.path().join("datasets")).unwrap();
    let file = home.folder.path().join("datasets/customers.toml");
    fs::write(file, format!("{DECLARATION}{deliver}")).unwrap();
    let records = (1..=ids).map(|id| format!("{{\"id\":{id}}}\n"));
    home.put("customers.jsonl", 0, records.collect::<String>().as_bytes());
    home
}

fn start(home: &Home, flags: &[&str], settings: &[(&str, &str)]) -> Process {
    let flags = [flags, &["samples/customers.jsonl"]].concat();
    let common = [("DELIVER_BACKOFF", "10ms"), ("DELIVER_TIMEOUT", "1s")];
    home.start_with(&flags, [&common[..], settings].concat())
}

fn answer(status: u16, headers: &[(&'static str, &str)], body: &'static str) -> Script {
    let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned()));
    Script::Answer(status, headers.collect(), body)
}

#[tokio::test]
async fn every_answer_has_its_end() {
    let crm = CrmServer::start(Behaviour::default()).unwrap();
    let metadata = "http://169.254.169.254/latest/meta-data/";
    for (key, scripts) in [
        ("1", vec![Script::Never]),
        ("2", vec![Script::Long(1 << 30)]),
        ("3", vec![Script::Close, Script::Close]),
        ("4", vec![answer(307, &[("location", &crm.url())], "")]),
        ("5", vec![answer(302, &[("location", metadata)], "")]),
        ("6", vec![answer(503, &[("retry-after", "-1")], "busy")]),
        ("7", vec![answer(429, &[("retry-after", "Sun, 27 Dec 2099 12:00:00 GMT")], "later")]),
        ("8", vec![answer(422, &[], "no \u{1b}[31mphone")]),
        ("9", vec![answer(408, &[], ""), answer(425, &[], ""), answer(500, &[], "")]),
    ] {
        crm.script(key, scripts);
    }
    let home = home(9, "url = '${CRM_URL}'");
    let settings = [("CRM_URL", &*crm.url()), ("DELIVER_PRIVATE", "true")];
    let process = start(&home, &[], &settings);
    let ended = until("all but one have ended", async || {
        let found = http::get(home.address, "/deliveries", &[]).await.ok()?.json();
        let found = found.as_array()?.clone();
        let waiting: Vec<&Value> =
            found.iter().filter(|delivery| delivery["state"] == "waiting").collect();
        let is_over = matches!(waiting[..], [one] if one["id"] == "7" && one["status"] == 429);
        (found.len() == 9 && is_over).then_some(found)
    })
    .await;
    for (id, state, status, attempts, error) in [
        ("1", "delivered", 200, 2, None),
        ("2", "delivered", 200, 1, None),
        ("3", "delivered", 200, 3, None),
        ("4", "dead", 307, 1, Some("redirects are not followed")),
        ("5", "dead", 302, 1, Some("to http://169.254.169.254: redirects")),
        ("6", "delivered", 200, 2, None),
        ("7", "waiting", 429, 1, Some("it answered 429 Too Many Requests: later")),
        ("8", "dead", 422, 1, Some("it answered 422 Unprocessable Entity: no  [31mphone")),
        ("9", "delivered", 200, 4, None),
    ] {
        let delivery = ended.iter().find(|delivery| delivery["id"] == id).unwrap();
        assert_eq!(
            (&delivery["state"], &delivery["status"], &delivery["attempts"]),
            (&state.into(), &status.into(), &attempts.into()),
            "{delivery}"
        );
        let shown = delivery["error"].as_str();
        assert_eq!(shown.is_some(), error.is_some(), "{delivery}");
        assert!(shown.unwrap_or_default().contains(error.unwrap_or_default()), "{delivery}");
    }
    // A Retry-After in 2099 is an hour.
    let due: chrono::DateTime<chrono::Utc> =
        ended.iter().find(|one| one["id"] == "7").unwrap()["due_at"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap();
    assert!(due <= chrono::Utc::now() + chrono::Duration::hours(1), "{due}");
    assert_eq!(crm.effects().len(), 4);
    let dead = http::get(home.address, "/deliveries?state=dead&limit=2", &[]).await.unwrap();
    assert_eq!(dead.json().as_array().unwrap().len(), 2);
    assert_eq!(dead.headers["link"], "<?state=dead&after=1.5&limit=2>; rel=\"next\"");
    let of_record = http::get(home.address, "/customers/8/deliveries", &[]).await.unwrap().json();
    assert_eq!(of_record["deliveries"][0]["state"], "dead");
    assert_eq!(of_record["cancelled"], Value::Array(Vec::new()));

    // The dead ones are delivered by command.
    let redelivered = home.command(&["redeliver", "--dead"]).output().unwrap();
    assert_eq!(String::from_utf8(redelivered.stdout).unwrap(), "To be delivered again: 3.\n");
    until("they are delivered", async || (crm.effects().len() == 7).then_some(())).await;
    succeeded(terminate(process));
}

#[tokio::test]
async fn destination_that_is_gone_is_disabled_until_it_is_enabled() {
    let crm = CrmServer::start(Behaviour::default()).unwrap();
    crm.script("1", [answer(410, &[], "closed")]);
    let home = home(1, "url = '${CRM_URL}'");
    let settings = [("CRM_URL", &*crm.url()), ("DELIVER_PRIVATE", "true")];
    let output = failed(finish(start(&home, &["--exit"], &settings)));
    let expected = "waiting 1, dead 0; disabled: it answered 410 Gone: closed";
    assert!(output.contains(expected), "{output}");
    assert_eq!(crm.calls(), 1);
    let output = failed(finish(start(&home, &["--exit"], &settings)));
    assert!(output.contains(expected), "{output}");
    assert_eq!(crm.calls(), 1);
    let enabled = home.command(&["enable", "crm"]).output().unwrap();
    assert_eq!(String::from_utf8(enabled.stdout).unwrap(), "crm of customers is enabled.\n");
    succeeded(finish(start(&home, &["--exit"], &settings)));
    assert_eq!(crm.effects().len(), 1);
}

#[test]
fn delivery_that_is_too_old_is_dead() {
    let crm = CrmServer::start(Behaviour::default()).unwrap();
    crm.script("1", (0..1_000).map(|_| answer(503, &[], "busy")));
    let home = home(2, "url = '${CRM_URL}'");
    let settings =
        [("CRM_URL", &*crm.url()), ("DELIVER_PRIVATE", "true"), ("DELIVER_MAX_AGE", "300ms")];
    let output = failed(finish(start(&home, &["--exit"], &settings)));
    assert!(output.contains("delivered 1, waiting 0, dead 1"), "{output}");
    assert!(crm.calls() > 2, "{}", crm.calls());
    // By command nothing is delivered, and then again.
    let disabled = home.command(&["disable", "crm"]).output().unwrap();
    assert_eq!(String::from_utf8(disabled.stdout).unwrap(), "crm of customers is disabled.\n");
    let calls = crm.calls();
    let redelivered = home.command(&["redeliver", "--key", "2"]).output().unwrap();
    assert_eq!(String::from_utf8(redelivered.stdout).unwrap(), "To be delivered again: 1.\n");
    let output = failed(finish(start(&home, &["--exit"], &settings)));
    assert!(output.contains("waiting 1, dead 1; disabled: by command"), "{output}");
    assert_eq!(crm.calls(), calls);
}

#[tokio::test]
async fn private_address_and_certificate_of_another_ca_are_refused() {
    let authority = Authority::new("a company").unwrap();
    let tls = authority.server().unwrap();
    let (plain, secure) = (
        CrmServer::start(Behaviour::default()).unwrap(),
        CrmServer::start_with_tls(Behaviour::default(), &tls, &[]).unwrap(),
    );
    let by_name = plain.url().replace("127.0.0.1", "localhost");
    for (url, private, expected) in [
        (plain.url(), "false", "127.0.0.1 is a private, link-local or loopback address"),
        (
            by_name,
            "",
            "is a private, link-local or loopback address: to deliver to it, set DELIVER_PRIVATE=true",
        ),
        (secure.url(), "true", "UnknownIssuer"),
    ] {
        let home = home(1, "url = '${CRM_URL}'");
        let mut settings = vec![("CRM_URL", &*url), ("DELIVER_DEADLINE", "1s")];
        if !private.is_empty() {
            settings.push(("DELIVER_PRIVATE", private));
        }
        let output = failed(finish(start(&home, &["--exit"], &settings)));
        assert!(output.contains("delivered 0, waiting 1, dead 0"), "{output}");
        let process = start(&home, &[], &settings);
        until(expected, async || {
            let shown = http::get(home.address, "/deliveries", &[]).await.ok()?.json();
            shown[0]["error"].as_str()?.contains(expected).then_some(())
        })
        .await;
        terminate(process);
    }
    assert_eq!((plain.calls(), secure.calls()), (0, 0));
    let home = home(1, "url = '${CRM_URL}'");
    let ca = authority.file().display().to_string();
    let settings =
        [("CRM_URL", &*secure.url()), ("DELIVER_PRIVATE", "true"), ("DELIVER_CA_FILE", &*ca)];
    succeeded(finish(start(&home, &["--exit"], &settings)));
    assert_eq!(secure.effects().len(), 1);
}

/// A destination that speaks HTTP/2 is spoken to in it; one that does not, in HTTP/1.1.
#[test]
fn version_of_http_is_the_newest_that_both_know() {
    const IDS: u32 = 200;
    let authority = Authority::new("a company").unwrap();
    let (tls, ca) = (authority.server().unwrap(), authority.file().display().to_string());
    for (versions, expected) in
        [(&["h2", "http/1.1"][..], Version::HTTP_2), (&["http/1.1"][..], Version::HTTP_11)]
    {
        let behaviour =
            Behaviour { failed_percent: 30, lost_percent: 5, seed: 7, ..Behaviour::default() };
        let crm = CrmServer::start_with_tls(behaviour, &tls, versions).unwrap();
        let home = home(IDS, "url = '${CRM_URL}'");
        let url = crm.url();
        let settings = [("CRM_URL", &*url), ("DELIVER_PRIVATE", "true"), ("DELIVER_CA_FILE", &*ca)];
        succeeded(finish(start(&home, &["--exit"], &settings)));
        assert!(crm.calls() > u64::from(IDS), "some were sent again");
        assert!(crm.received().iter().all(|call| call.version == expected), "{expected:?}");
        assert_eq!(crm.effects().len(), IDS as usize);
        assert!(crm.violations().is_empty(), "{:?}", crm.violations());
    }
}

#[test]
fn message_is_signed() {
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let crm = CrmServer::start(Behaviour::default()).unwrap();
    let home = home(1, "url = '${CRM_URL}/customers'\nsecret = '${CRM_SECRET}'");
    let url = crm.url().replace("/hook", "");
    let settings = [("CRM_URL", &*url), ("CRM_SECRET", SECRET), ("DELIVER_PRIVATE", "true")];
    succeeded(finish(start(&home, &["--exit"], &settings)));
    let call = crm.received().remove(0);
    let webhook = standardwebhooks::Webhook::new(SECRET).unwrap();
    webhook.verify(&call.body, &call.headers).unwrap();
}

#[test]
fn setting_that_is_missing_or_wrong_is_named_at_the_start() {
    let url = ("CRM_URL", "http://127.0.0.1:1/");
    for (deliver, settings, expected) in [
        (
            "url = '${CRM_URL}'",
            vec![],
            "destination crm of customers: the variable CRM_URL is not set",
        ),
        ("url = '${CRM_URL}'", vec![("CRM_URL", "")], "the variable CRM_URL is not set"),
        ("url = '${CRM_URL}'", vec![("CRM_URL", "crm.example")], "${CRM_URL} is no URL"),
        (
            "url = '${CRM_URL}'",
            vec![("CRM_URL", "ftp://secret@host/")],
            "must begin with https:// or http://",
        ),
        (
            "url = '${CRM_URL}'\nsecret = '${CRM_SECRET}'",
            vec![url],
            "the variable CRM_SECRET is not set",
        ),
        (
            "url = '${CRM_URL}'\nsecret = '${CRM_SECRET}'",
            vec![url, ("CRM_SECRET", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")],
            "${CRM_SECRET} must be whsec_ and a key in base64",
        ),
        (
            "url = '${CRM_URL}'\nsecret = '${CRM_SECRET}'",
            vec![url, ("CRM_SECRET", "whsec_?")],
            "${CRM_SECRET} must be whsec_ and a key in base64",
        ),
        (
            "url = 'crm.example'",
            vec![],
            "customers.toml:5: deliver: url: it must begin with https:// or http://",
        ),
        ("url = 'https://a:b@crm.example'", vec![], "declarations are stored and served"),
        ("url = 'https://${CRM_USER}:b@crm.example'", vec![], "declarations are stored and served"),
        ("url = '${CRM_URL'", vec![], "${ must be followed by the name of a variable"),
        (
            "url = '${CRM_URL}'\nsecret = 'whsec_abcd'",
            vec![url],
            "customers.toml:6: deliver: secret: it must be a variable",
        ),
        ("url = '${CRM_URL}'\non = ['deleted']", vec![url], "no record of this dataset deletes"),
        (
            "url = '${CRM_URL}'\ndelay = { column = 'wait', unit = 's' }",
            vec![url],
            "delay: there is no column wait",
        ),
        (
            "url = '${CRM_URL}'\ndelay = { column = 'id', unit = 'y' }",
            vec![url],
            "unknown variant `y`",
        ),
    ] {
        let home = home(1, deliver);
        let output = failed(finish(start(&home, &["--exit"], &settings)));
        assert!(output.contains(expected), "{expected}: {output}");
        for (_, value) in settings.into_iter().filter(|(name, _)| *name == "CRM_SECRET") {
            assert!(!output.contains(value), "{output}");
        }
        assert!(!output.contains("secret@"), "{output}");
    }
}

/// A destination that is added later gets what is there by command.
#[test]
fn backfill_delivers_what_was_loaded_before() {
    let crm = CrmServer::start(Behaviour::default()).unwrap();
    let home = home(2500, "url = '${CRM_URL}'");
    let file = home.folder.path().join("datasets/customers.toml");
    let declaration = fs::read_to_string(&file).unwrap();
    fs::write(&file, declaration.split("[[").next().unwrap()).unwrap();
    succeeded(finish(start(&home, &["--exit"], &[])));
    fs::write(&file, declaration).unwrap();
    let settings = [("CRM_URL", &*crm.url()), ("DELIVER_PRIVATE", "true")];
    succeeded(finish(start(&home, &["--exit"], &settings)));
    assert_eq!(crm.calls(), 0);
    let backfilled = home.command(&["backfill", "crm"]).output().unwrap();
    let shown = String::from_utf8(backfilled.stdout).unwrap();
    assert_eq!(shown, "To be delivered to crm of customers: 2500.\n");
    succeeded(finish(start(&home, &["--exit"], &settings)));
    assert_eq!((crm.calls(), crm.effects().len()), (2500, 2500));
    let again = home.command(&["backfill", "crm"]).output().unwrap();
    let shown = String::from_utf8(again.stdout).unwrap();
    assert_eq!(shown, "To be delivered to crm of customers: 0.\n");
    let unknown = home.command(&["backfill", "shop"]).output().unwrap();
    let shown = String::from_utf8(unknown.stderr).unwrap();
    assert!(shown.contains("there is no such destination; there are: crm of customers"), "{shown}");
}
