//! iceberg-rust's RestCatalog as a client.

use std::{collections::HashMap, sync::Arc};

use iceberg::{
    Catalog, CatalogBuilder as _, ErrorKind, NamespaceIdent, TableCreation, TableIdent,
    spec::{
        DataContentType, DataFile, DataFileBuilder, DataFileFormat, NestedField, PrimitiveType, Schema, Struct, Type,
    },
    transaction::{ApplyTransactionAction as _, Transaction},
};
use iceberg_catalog_rest::{REST_CATALOG_PROP_URI, RestCatalogBuilder};
use iceberg_storage_opendal::OpenDalStorageFactory;

use crate::stack::Stack;

/// A client that knows nothing but the catalog's address: the object store's settings come from the catalog.
pub async fn client(stack: &Stack) -> Arc<dyn Catalog> {
    let properties = HashMap::from([(REST_CATALOG_PROP_URI.to_owned(), stack.url(""))]);
    let storage = Arc::new(OpenDalStorageFactory::S3 { customized_credential_load: None });
    Arc::new(RestCatalogBuilder::default().with_storage_factory(storage).load("rest", properties).await.unwrap())
}

pub fn creation(name: &str) -> TableCreation {
    let id = NestedField::required(1, "id", Type::Primitive(PrimitiveType::Long));
    let schema = Schema::builder().with_fields(vec![id.into()]).build().unwrap();
    TableCreation::builder().name(name.to_owned()).schema(schema).build()
}

/// A data file that exists on paper only; the catalog does not read them.
pub fn data_file(path: &str) -> DataFile {
    DataFileBuilder::default()
        .content(DataContentType::Data)
        .file_path(path.to_owned())
        .file_format(DataFileFormat::Parquet)
        .partition(Struct::empty())
        .partition_spec_id(0)
        .record_count(1)
        .file_size_in_bytes(10)
        .build()
        .unwrap()
}

#[tokio::test]
async fn a_table_lives_from_creation_to_drop() {
    let stack = Stack::start().await;
    let client = client(&stack).await;
    let namespace = NamespaceIdent::from_strs(["stage", "storefront"]).unwrap();
    client.create_namespace(&namespace, HashMap::from([("owner".to_owned(), "lake".to_owned())])).await.unwrap();
    assert_eq!(client.list_namespaces(None).await.unwrap(), [NamespaceIdent::new("stage".into())]);
    assert_eq!(client.get_namespace(&namespace).await.unwrap().properties()["owner"], "lake");

    let table = client.create_table(&namespace, creation("orders")).await.unwrap();
    let id = table.metadata().uuid().simple().to_string();
    assert_eq!(table.metadata().location(), format!("s3://lakehouse/stage/storefront/orders-{id}"));
    assert_eq!(
        client.create_table(&namespace, creation("orders")).await.unwrap_err().kind(),
        ErrorKind::TableAlreadyExists
    );

    let append = Transaction::new(&table);
    let append = append.fast_append().add_data_files(vec![data_file("s3://lakehouse/a")]).apply(append).unwrap();
    let table = append.commit(client.as_ref()).await.unwrap();
    let orders = TableIdent::new(namespace.clone(), "orders".into());
    let again = client.load_table(&orders).await.unwrap();
    assert_eq!(again.metadata_location(), table.metadata_location());
    assert_eq!(again.metadata().snapshots().count(), 1);

    let renamed = TableIdent::new(namespace.clone(), "sales".into());
    client.rename_table(&orders, &renamed).await.unwrap();
    assert!(!client.table_exists(&orders).await.unwrap() && client.table_exists(&renamed).await.unwrap());
    assert_eq!(client.list_tables(&namespace).await.unwrap(), std::slice::from_ref(&renamed));
    // The old name is free, and a new table of that name shares no folder with the renamed one.
    let other = client.create_table(&namespace, creation("orders")).await.unwrap();
    assert_ne!(other.metadata().location(), again.metadata().location());

    assert!(client.drop_namespace(&namespace).await.is_err());
    client.drop_table(&orders).await.unwrap();
    client.drop_table(&renamed).await.unwrap();
    assert_eq!(client.load_table(&renamed).await.unwrap_err().kind(), ErrorKind::TableNotFound);
    client.drop_namespace(&namespace).await.unwrap();
    assert!(!client.namespace_exists(&namespace).await.unwrap());
}
