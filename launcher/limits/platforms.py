"""On what kind of platform does this process run?

Each answers by the variable it documents as always set; Kubernetes first, because Knative's `K_SERVICE` also appears
there and the cluster then decides about replicas.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from launcher.limits.tree import Tree

_BY_VARIABLE = (
    ("KUBERNETES_SERVICE_HOST", "kubernetes"),
    ("DYNO", "heroku"),
    ("K_SERVICE", "cloud-run"),
    ("FLY_APP_NAME", "fly"),
    ("container", "container"),  # systemd's container interface: set by podman, nspawn and LXC
)
_MARKERS = ("/.dockerenv", "/run/.containerenv")  # Docker's and Podman's


def read_platform(tree: Tree, environ: Mapping[str, str]) -> str:
    """Return kubernetes, heroku, cloud-run, fly, container or host."""
    named = next((platform for variable, platform in _BY_VARIABLE if environ.get(variable)), None)
    return named or ("container" if any(tree.exists(marker) for marker in _MARKERS) else "host")
