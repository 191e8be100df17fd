//! What fails in a plan: it is reported as ever, and what the plan found is not found out twice.

use crate::planned::{green, project};

/// What the plan found out is what the user reads.
#[test]
fn a_mistake_is_compiled_once() {
    let project = project("broken");
    project.edit("src/lib.rs", "macros::one!()", "macros::one!() + \"\"");
    for _ in 0..2 {
        let plain = project.plain("build").fails();
        project.calls.take();
        let ours = green(&project, "build").fails();
        project.assert_same_output(&plain, &ours);
        let calls = project.calls.take();
        let is_batch = |call: &String| call.contains("/batch ");
        let is_alone = |call: &String| call.contains("/unit ");
        assert!(calls.iter().any(is_batch) && !calls.iter().any(is_alone), "{calls:#?}");
    }
    project.edit("src/lib.rs", " + \"\"", "");
    green(&project, "build").succeeds();
    project.plain("build").succeeds();
    project.assert_same_tree();
}

/// Units of one call share no folder for temporary files. One that needs that gets it all the same.
#[test]
fn a_macro_uses_the_folder_of_all() {
    let project = project("broken");
    let file = project.dir().file_name().unwrap().to_str().unwrap();
    let code = format!(
        "std::fs::write(\"/tmp/{file}\", \"1\").unwrap();
        std::fs::remove_file(\"/tmp/{file}\").unwrap();"
    );
    project.edit("macros/src/lib.rs", "// HERE", &code);
    project.plain("build").succeeds();
    green(&project, "build").succeeds();
    project.assert_same_tree();
    let calls = project.calls.take();
    assert!(!calls.iter().any(|call| call.contains("/unit ")), "{calls:#?}");
}

#[test]
fn a_mistake_is_reported_as_ever() {
    let project = project("broken").env("CARGO_BUILD_JOBS", "1");
    for (file, wrong) in
        [("macros/src/lib.rs", "let _: u32 = \"\";"), ("build.rs", "panic!(\"wrong\");")]
    {
        project.edit(file, "// HERE", wrong);
        let (plain, ours) = (project.plain("build").fails(), green(&project, "build").fails());
        assert_eq!(plain.status, ours.status);
        let said = if file == "build.rs" { "panicked at build.rs" } else { "E0308" };
        plain.says(said);
        ours.says(said);
        project.edit(file, wrong, "// HERE");
    }
    project.plain("run").succeeds();
    assert_eq!(green(&project, "run -- and its arguments").succeeds().stdout, "one is 1\n");
    project.assert_same_tree();
}
