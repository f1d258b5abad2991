#!/usr/bin/env bash
# entrypoint.sh master | worker | COMMAND…: writes Spark's settings from the environment, then runs a daemon or the command.
# S3's key and secret stay in the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY), where Iceberg's client looks.
set -euo pipefail
mkdir -p "$SPARK_CONF_DIR"
cat >"$SPARK_CONF_DIR/spark-defaults.conf" <<CONF
spark.master                                ${SPARK_MASTER_URL:-spark://spark-master:7077}
spark.sql.extensions                        org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions
spark.sql.defaultCatalog                    lake
spark.sql.catalog.lake                      org.apache.iceberg.spark.SparkCatalog
spark.sql.catalog.lake.type                 rest
spark.sql.catalog.lake.uri                  ${CATALOG_URL:-http://catalog:8181}
spark.sql.catalog.lake.warehouse            ${CATALOG_WAREHOUSE:-s3://lakehouse/}
spark.sql.catalog.lake.io-impl              org.apache.iceberg.aws.s3.S3FileIO
spark.sql.catalog.lake.s3.endpoint          ${S3_ENDPOINT:-http://minio:9000}
spark.sql.catalog.lake.s3.path-style-access true
spark.sql.catalog.lake.client.region        ${S3_REGION:-us-east-1}
# No Hive metastore: the lake's catalog is the only one.
spark.sql.catalogImplementation             in-memory
spark.sql.session.timeZone                  UTC
spark.sql.shuffle.partitions                4
spark.driver.memory                         ${SPARK_DRIVER_MEMORY:-512m}
spark.executor.memory                       ${SPARK_EXECUTOR_MEMORY:-512m}
spark.ui.showConsoleProgress                false
# Jobs come by spark-submit and spark-sql.
spark.master.rest.enabled                   false
CONF
# The region again for clients that ask the environment.
export AWS_REGION=${AWS_REGION:-${S3_REGION:-us-east-1}}

case ${1:-master} in
master) exec spark-class org.apache.spark.deploy.master.Master --host "$(hostname)" --port 7077 --webui-port 8085 ;;
worker) exec spark-class org.apache.spark.deploy.worker.Worker --webui-port 8085 --work-dir /tmp/spark-work "${SPARK_MASTER_URL:-spark://spark-master:7077}" ;;
*) exec "$@" ;;
esac
