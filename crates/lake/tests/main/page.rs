//! The models' page in a browser (Chromium): what is drawn, and where a click leads.

use std::process::{Command, Stdio};

use serde_json::Value;
use testkit::Binary;

/// Clicks each box of the graph and notes what then stands at the top of the window.
const CLICKS: &str = r#"
<script>
const pause = () => new Promise(done => setTimeout(done, 50));
addEventListener("load", async () => {
  const boxes = [...document.querySelectorAll("svg a")].map(link => {
    const box = link.querySelector("rect").getBoundingClientRect();
    return {link, box, text: link.querySelector("text")};
  });
  const over = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
  const found = {
    lines: document.querySelectorAll("svg path").length,
    overlaps: boxes.filter((a, at) => boxes.slice(at + 1).some(b => over(a.box, b.box))).length,
    wide: document.documentElement.scrollWidth > innerWidth,
    boxes: [],
  };
  for (const {link, box, text} of boxes) {
    scrollTo(0, 0);
    link.dispatchEvent(new MouseEvent("click", {bubbles: true, cancelable: true, view: window}));
    await pause();
    const section = document.querySelector(":target");
    const place = section?.getBoundingClientRect();
    found.boxes.push({
      name: text.textContent,
      kind: link.querySelector("rect").className.baseVal,
      fits: text.getBoundingClientRect().right <= box.right,
      leads_to: section?.querySelector("h2").textContent,
      seen: place && place.top < innerHeight && place.bottom > 0,
      columns: section ? section.querySelector("table tbody").rows.length : 0,
      tests: section ? section.querySelectorAll("li").length : 0,
    });
  }
  // The overview's links lead to the same places.
  history.replaceState(null, "", location.pathname);
  document.querySelector("table a").click();
  await pause();
  found.overview = document.querySelector(":target")?.id;
  const query = document.querySelector(":target details");
  const closed = query.querySelector("pre").checkVisibility();
  query.querySelector("summary").click();
  await pause();
  found.query = [closed, query.querySelector("pre").checkVisibility()];
  const said = document.createElement("pre");
  said.id = "found";
  said.textContent = JSON.stringify(found);
  document.body.append(said);
});
</script>
"#;

/// The page as a browser shows it, with what the clicks found.
fn looked_at(page: &str, folder: &std::path::Path) -> Value {
    let file = folder.join("clicked.html");
    std::fs::write(&file, page.replace("</body>", &format!("{CLICKS}</body>"))).unwrap();
    let shown = Command::new("chromium")
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--window-size=1200,900", "--virtual-time-budget=30000"])
        .arg(format!("--user-data-dir={}", folder.join("profile").display()))
        .arg("--dump-dom")
        .arg(format!("file://{}", file.display()))
        .stderr(Stdio::null())
        .output()
        .expect("chromium, of the package of this name");
    let dom = String::from_utf8(shown.stdout).unwrap();
    let found = dom.split_once("<pre id=\"found\">").and_then(|(_, rest)| rest.split_once("</pre>"));
    serde_json::from_str(found.unwrap_or_else(|| panic!("the clicks did not end: {dom}")).0).unwrap()
}

#[test]
fn the_page_of_the_models_is_drawn_and_its_boxes_lead_to_their_models() {
    let folder = tempfile::tempdir().unwrap();
    let models = format!("{}/../../models", env!("CARGO_MANIFEST_DIR"));
    let made = Command::new(Binary::path("lake"))
        .args(["docs", "--out"])
        .arg(folder.path())
        // There is no lake: the page needs none.
        .envs([("LAKE_MODELS_DIR", models.as_str()), ("CATALOG_URL", "http://127.0.0.1:9")])
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let page = std::fs::read_to_string(folder.path().join("index.html")).unwrap();
    let found = looked_at(&page, folder.path());
    assert_eq!((&found["overlaps"], &found["wide"]), (&0.into(), &false.into()), "{found}");
    let boxes = found["boxes"].as_array().unwrap();
    let of = |kind: &str| boxes.iter().filter(|found| found["kind"] == kind).count();
    assert_eq!((of("source"), of("shape"), of("serve")), (5, 2, 8));
    assert_eq!(found["lines"], 16, "lines from each table to what is made of it");
    for model in boxes {
        assert_eq!(model["leads_to"], model["name"], "{model}");
        assert!(model["fits"] == true && model["seen"] == true, "{model}");
        assert!(model["columns"].as_u64() >= Some(2), "{model}");
        assert!(model["kind"] == "source" || model["tests"].as_u64() >= Some(3), "{model}");
    }
    let named = |name: &str| boxes.iter().find(|model| model["name"] == name).unwrap();
    assert_eq!(named("serve.daily_revenue")["columns"], 3);
    assert!(found["overview"].as_str().unwrap().starts_with("shape."), "{found}");
    assert_eq!(found["query"], serde_json::json!([false, true]), "the query opens by a click");
}
