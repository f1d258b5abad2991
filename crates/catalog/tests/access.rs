//! A catalog that asks who is there, and one with several warehouses.

use serde_json::{Value, json};

use crate::stack::{Stack, schema};

const TOKEN: &str = "a-token-of-the-settings";
const CLIENT: [(&str, &str); 2] = [("CATALOG_CLIENT_ID", "engine"), ("CATALOG_CLIENT_SECRET", "its-secret")];

async fn status_with(stack: &Stack, path: &str, authorization: &str) -> u16 {
    let request = stack.http.get(stack.url(path)).header("Authorization", authorization);
    request.send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn without_a_token_nothing_is_answered_but_health() {
    let stack = Stack::start_with(&[("CATALOG_TOKEN", TOKEN)]).await;
    for path in ["/v1/config", "/v1/namespaces", "/v1/lakehouse/namespaces", "/v1/nonsense"] {
        let (status, answer) = stack.get(path).await;
        assert_eq!((status, &answer["error"]["type"]), (401, &json!("NotAuthorizedException")), "{path}");
        assert_eq!(status_with(&stack, path, "Bearer another").await, 401, "{path}");
        assert_eq!(status_with(&stack, path, &format!("Basic {TOKEN}")).await, 401, "{path}");
    }
    let bearer = format!("Bearer {TOKEN}");
    assert_eq!(status_with(&stack, "/v1/config", &bearer).await, 200);
    assert_eq!(status_with(&stack, "/v1/namespaces", &bearer).await, 200);
    assert_eq!(stack.get("/health").await.0, 200);
    assert!(!stack.get("/metrics").await.1.to_string().contains(TOKEN));
}

#[tokio::test]
async fn a_client_gets_a_token_for_its_credentials() {
    let stack = Stack::start_with(&CLIENT).await;
    let ask = async |form: &[(&str, &str)]| {
        let body = form.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&");
        let request = stack.http.post(stack.url("/v1/oauth/tokens")).body(body);
        let answer = request.header("Content-Type", "application/x-www-form-urlencoded").send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap_or_default())
    };
    let form = |secret| [("grant_type", "client_credentials"), ("client_id", "engine"), ("client_secret", secret)];
    assert_eq!(ask(&form("another")).await, (401, json!({ "error": "invalid_client" })));
    assert_eq!(ask(&[("grant_type", "password")]).await.1["error"], "unsupported_grant_type");
    let (status, answer) = ask(&form("its-secret")).await;
    assert_eq!((status, &answer["token_type"]), (200, &json!("bearer")));
    let bearer = format!("Bearer {}", answer["access_token"].as_str().unwrap());
    assert_eq!(status_with(&stack, "/v1/namespaces", &bearer).await, 200);
    assert_eq!(stack.get("/v1/namespaces").await.0, 401);
}

#[tokio::test]
async fn warehouses_have_tables_of_their_own() {
    let stack =
        Stack::start_with(&[("CATALOG_MORE_WAREHOUSES", "labs=s3://lakehouse/labs/, drafts=s3://lakehouse/drafts")])
            .await;
    stack.create_table("t", json!({})).await;
    let (status, config) = stack.get("/v1/config?warehouse=labs").await;
    assert_eq!((status, &config["overrides"]["prefix"]), (200, &json!("labs")));
    assert_eq!(stack.get("/v1/config?warehouse=s3://lakehouse/drafts/").await.1["overrides"]["prefix"], "drafts");
    assert_eq!(stack.get("/v1/config?warehouse=lakehouse").await.1["overrides"], json!({}));
    assert_eq!(stack.get("/v1/config?warehouse=other").await.0, 404);

    assert_eq!(stack.get("/v1/labs/namespaces").await.1["namespaces"], json!([]));
    assert_eq!(stack.post("/v1/labs/namespaces", &json!({ "namespace": ["shape"] })).await.0, 200);
    let table = json!({ "name": "t", "schema": schema() });
    let (status, made) = stack.post("/v1/labs/namespaces/shape/tables", &table).await;
    assert_eq!(status, 200, "{made}");
    assert!(made["metadata-location"].as_str().unwrap().starts_with("s3://lakehouse/labs/shape/t-"), "{made}");
    assert_ne!(made["metadata"]["table-uuid"], stack.load("t").await["metadata"]["table-uuid"]);
    let change = json!({ "requirements": [], "updates": [{ "action": "set-properties", "updates": { "a": "b" } }] });
    assert_eq!(stack.post("/v1/labs/namespaces/shape/tables/t", &change).await.0, 200);
    assert!(stack.load("t").await["metadata"]["properties"].get("a").is_none());
    assert_eq!(stack.delete("/v1/labs/namespaces/shape/tables/t").await.0, 204);
    stack.load("t").await;
}
