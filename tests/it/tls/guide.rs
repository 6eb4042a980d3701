//! The guide's chapter "TLS": what is printed works.

use std::io::ErrorKind;
use std::process::Command;

use crate::support::Program;

use super::*;

/// The chapter's blocks of a shell.
fn blocks() -> Vec<String> {
    let chapter = text_of(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/guide/tls.md"));
    let mut blocks = chapter.split("```sh\n").skip(1);
    let block = |rest: &str| rest.split("```").next().unwrap().trim().to_owned();
    blocks.by_ref().map(block).collect()
}

#[test]
fn its_lines_make_a_certificate_start_the_server_and_ask_it() {
    let [start, make, ask] = &blocks()[..] else {
        panic!("{:?}", blocks());
    };
    let folder = Folder::new();
    let run = |line: &str| {
        let mut words = line.split(' ');
        let output = Command::new(words.next().unwrap())
            .args(words)
            .current_dir(&folder.0)
            .output();
        match output {
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            output => Some(output.unwrap()),
        }
    };
    let Some(made) = run(make) else {
        println!("openssl is not installed");
        return;
    };
    assert!(made.status.success(), "{made:?}");
    let options = start.strip_prefix("hubcast ").unwrap();
    let options = options.replace("0.0.0.0:8443", "127.0.0.1:0");
    let options: Vec<&str> = options.split(' ').collect();
    let mut command = Program::command(&options);
    command.current_dir(&folder.0);
    let program = Program::launch(command);
    let ask = ask.replace("8443", &program.address.port().to_string());
    match run(&ask) {
        None => println!("curl is not installed"),
        Some(asked) => assert_eq!(asked.stdout, b"ok\n", "{asked:?}"),
    }
}
