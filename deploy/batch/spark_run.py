"""The entry point of the image for Spark: Kubernetes starts it as `driver` or as `executor`.

PySpark brings everything that Spark's own images hold but for this. What the variables mean:
https://spark.apache.org/docs/latest/running-on-kubernetes.html
"""

import os
import re
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

_EXECUTOR = "org.apache.spark.scheduler.cluster.k8s.KubernetesExecutorBackend"
_OPTIONS = {
    "--driver-url": "SPARK_DRIVER_URL",
    "--executor-id": "SPARK_EXECUTOR_ID",
    "--cores": "SPARK_EXECUTOR_CORES",
    "--app-id": "SPARK_APPLICATION_ID",
    "--hostname": "SPARK_EXECUTOR_POD_IP",
    "--resourceProfileId": "SPARK_RESOURCE_PROFILE_ID",
    "--podName": "SPARK_EXECUTOR_POD_NAME",
}


def command(arguments: Sequence[str], given: Mapping[str, str], home: Path) -> list[str]:
    """What to run.

    Args:
        arguments: of the container.
        given: its environment.
        home: PySpark's folder.

    Raises:
        KeyError: a variable is missing that Spark sets.
    """
    if arguments[:1] == ["driver"]:
        address = f"spark.driver.bindAddress={given['SPARK_DRIVER_BIND_ADDRESS']}"
        submit = [str(home / "bin" / "spark-submit"), "--deploy-mode", "client"]
        return [*submit, "--conf", address, *arguments[1:]]
    if arguments[:1] != ["executor"]:
        return list(arguments)
    numbered = {name: re.fullmatch(r"SPARK_JAVA_OPT_(\d+)", name) for name in given}
    java_options = sorted((int(found[1]), given[name]) for name, found in numbered.items() if found)
    folders = ("SPARK_CONF_DIR", "HADOOP_CONF_DIR", "SPARK_CLASSPATH", "SPARK_EXTRA_CLASSPATH")
    classes = [*filter(None, map(given.get, folders)), str(home / "jars" / "*")]
    memory = given["SPARK_EXECUTOR_MEMORY"]
    options = [word for name, key in _OPTIONS.items() for word in (name, given[key])]
    java = ["java", *(option for _, option in java_options), f"-Xms{memory}", f"-Xmx{memory}"]
    return [*java, "-cp", ":".join(classes), _EXECUTOR, *options]


if __name__ == "__main__":
    pyspark = find_spec("pyspark")
    if not pyspark or not pyspark.origin:
        sys.exit("PySpark is not installed: requirements-spark.txt has it")
    words = command(sys.argv[1:] or ["bash"], os.environ, Path(pyspark.origin).parent)
    os.execvp(words[0], words)  # noqa: S606
