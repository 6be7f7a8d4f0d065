"""Documents that operators of distribution have, and what becomes of them."""

from __future__ import annotations

import pytest

from moorage.config import ConfigurationError, parse

# What Debian's docker-registry 2.8.2 installs as /etc/docker/registry/config.yml.
DEBIAN = """
version: 0.1
log:
  fields:
    service: registry
storage:
  cache:
    blobdescriptor: inmemory
  filesystem:
    rootdirectory: /var/lib/docker-registry
  delete:
    enabled: true
http:
  addr: :5000
  headers:
    X-Content-Type-Options: [nosniff]
auth:
  htpasswd:
    realm: basic-realm
    path: /etc/docker/registry
health:
  storagedriver:
    enabled: true
    interval: 10s
    threshold: 3
"""

# The document inside the image `registry:2`.
IMAGE = """
version: 0.1
log:
  fields:
    service: registry
storage:
  cache:
    blobdescriptor: inmemory
  filesystem:
    rootdirectory: /var/lib/registry
http:
  addr: :5000
  headers:
    X-Content-Type-Options: [nosniff]
health:
  storagedriver:
    enabled: true
    interval: 10s
    threshold: 3
"""

DEVELOPMENT = """
version: 0.1
log:
  level: debug
  fields:
    service: registry
    environment: development
storage:
    delete:
      enabled: true
    cache:
        blobdescriptor: inmemory
    filesystem:
        rootdirectory: /var/lib/registry
    maintenance:
        uploadpurging:
            enabled: false
    tag:
      concurrencylimit: 8
http:
    addr: :5000
    debug:
        addr: :5001
        prometheus:
            enabled: true
            path: /metrics
    headers:
        X-Content-Type-Options: [nosniff]
health:
  storagedriver:
    enabled: true
    interval: 10s
    threshold: 3
"""

# A pull-through cache with a webhook and Redis, as version 2 writes it.
MIRROR = """
version: 0.1
log:
  level: debug
storage:
    cache:
        blobdescriptor: redis
    filesystem:
        rootdirectory: /var/lib/registry-cache
    maintenance:
        uploadpurging:
            enabled: false
http:
    addr: :5000
    secret: asecretforlocaldevelopment
    debug:
        addr: localhost:5001
redis:
  addr: localhost:6379
  pool:
    maxidle: 16
    maxactive: 64
    idletimeout: 300s
  dialtimeout: 10ms
  readtimeout: 10ms
  writetimeout: 10ms
notifications:
    endpoints:
        - name: local-8082
          url: http://localhost:5003/callback
          headers:
             Authorization: [Bearer an-example]
          timeout: 1s
          threshold: 10
          backoff: 1s
        - name: local-8083
          url: http://localhost:8083/callback
          timeout: 1s
          threshold: 10
          backoff: 1s
          disabled: true
proxy:
  remoteurl: https://registry-1.docker.io
  username: name
  password: word
health:
  storagedriver:
    enabled: true
    interval: 10s
    threshold: 3
"""

# Everything that distribution has and this version supports, in one document.
WHOLE = """
version: 0.1
log:
  accesslog:
    disabled: true
  level: debug
  formatter: json
  fields:
    service: registry
    environment: staging
  hooks:
    - type: mail
      disabled: true
      levels:
        - panic
      options:
        smtp:
          addr: mail.example.com:25
          username: mailuser
          password: password
          insecure: true
        from: sender@example.com
        to:
          - errors@example.com
storage:
  filesystem:
    rootdirectory: /srv/registry
    maxthreads: 50
  tag:
    concurrencylimit: 8
  delete:
    enabled: false
  redirect:
    disable: false
  cache:
    blobdescriptor: inmemory
    blobdescriptorsize: 20000
  maintenance:
    uploadpurging:
      enabled: true
      age: 48h
      interval: 12h30m
      dryrun: false
    readonly:
      enabled: false
auth: none
http:
  addr: localhost:5000
  prefix: /my/nested/registry/
  host: https://myregistryaddress.org:5000
  secret: asecretforlocaldevelopment
  relativeurls: false
  draintimeout: 60s
  debug:
    addr: localhost:5001
    prometheus:
      enabled: true
      path: /metrics
  headers:
    X-Content-Type-Options: [nosniff]
  http2:
    disabled: false
  h2c:
    enabled: false
notifications:
  events:
    includereferences: true
  endpoints:
    - name: alistener
      disabled: true
      url: https://my.listener.com/event
      headers:
        Authorization: [Bearer token]
      timeout: 1s
      threshold: 10
      backoff: 1s
      ignoredmediatypes:
        - application/octet-stream
      ignore:
        mediatypes:
           - application/octet-stream
        actions:
           - pull
health:
  storagedriver:
    enabled: true
    interval: 10s
    threshold: 3
  file:
    - file: /path/to/checked/file
      interval: 10s
  http:
    - uri: http://server.to.check/must/return/200
      headers:
        Authorization: [Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==]
      statuscode: 200
      timeout: 3s
      interval: 10s
      threshold: 3
  tcp:
    - addr: redis-server.domain.com:6379
      timeout: 3s
      interval: 10s
      threshold: 3
validation:
  manifests:
    urls:
      allow:
        - ^https?://([^/]+\\.)*example\\.com/
      deny:
        - ^https?://www\\.example\\.com/
    indexes:
      platforms: List
      platformlist:
      - architecture: amd64
        os: linux
policy:
  repository:
    classes: [image, plugin]
catalog:
  maxentries: 500
tags:
  maxtags: 200
compatibility:
  schema1:
    signingkeyfile: /etc/registry/key.json
    enabled: false
"""


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        parse(text, {})
    return [str(problem) for problem in caught.value.problems]


def test_debian_s_document_is_read_with_its_access_control() -> None:
    read = parse(DEBIAN, {})
    assert read.auth.htpasswd is not None
    assert (read.auth.kind, read.auth.htpasswd.realm) == ("htpasswd", "basic-realm")
    assert read.warnings == ()
    assert read.storage.driver_parameters["rootdirectory"] == "/var/lib/docker-registry"
    assert read.storage.delete.enabled
    assert read.storage.cache.blobdescriptor == "inmemory"
    assert read.http.addr == ":5000"
    assert read.http.headers == {"X-Content-Type-Options": ("nosniff",)}
    assert (read.health.storagedriver.interval, read.health.storagedriver.threshold) == (10.0, 3)
    assert read.log.fields == {"service": "registry"}


def test_the_image_s_document_is_served_with_the_variables_that_people_pass_to_it() -> None:
    read = parse(
        IMAGE,
        {
            "REGISTRY_STORAGE_DELETE_ENABLED": "true",
            "REGISTRY_HTTP_ADDR": "0.0.0.0:443",
            "REGISTRY_STORAGE_MAINTENANCE_READONLY": "{enabled: true}",
            "REGISTRY_LOG_LEVEL": "debug",
            "REGISTRY_VALIDATION_MANIFESTS_URLS_ALLOW": "['^https://']",
        },
    )
    assert read.warnings == ()
    assert read.storage.delete.enabled
    assert read.storage.maintenance.readonly.enabled
    assert (read.http.addr, read.log.level) == ("0.0.0.0:443", "debug")
    assert read.validation.manifests.urls.permits("https://mirror.example/x")


def test_the_image_s_document_takes_access_control_and_tls_from_the_environment() -> None:
    read = parse(
        IMAGE,
        {
            "REGISTRY_AUTH": "htpasswd",
            "REGISTRY_AUTH_HTPASSWD_REALM": "Registry Realm",
            "REGISTRY_AUTH_HTPASSWD_PATH": "/auth/htpasswd",
            "REGISTRY_HTTP_TLS_CERTIFICATE": "/certs/domain.crt",
            "REGISTRY_HTTP_TLS_KEY": "/certs/domain.key",
        },
    )
    assert read.warnings == ()
    assert read.auth.htpasswd is not None
    assert (read.auth.htpasswd.realm, read.auth.htpasswd.path) == ("Registry Realm", "/auth/htpasswd")
    assert (read.http.tls.certificate, read.http.tls.key) == ("/certs/domain.crt", "/certs/domain.key")


def test_a_development_document_is_served() -> None:
    read = parse(DEVELOPMENT, {})
    assert read.warnings == ()
    assert not read.storage.maintenance.uploadpurging.enabled
    assert read.storage.tag.concurrencylimit == 8
    assert (read.http.debug.addr, read.http.debug.prometheus.enabled) == (":5001", True)


def test_a_mirror_s_document_is_refused_for_each_thing_that_it_would_lose() -> None:
    local = "localhost is not a public address; set 'allowprivate: true' on the endpoint if it is meant"
    assert problems(MIRROR) == [
        f"notifications.endpoints[0].url: {local}",
        f"notifications.endpoints[1].url: {local}",
        "proxy: the pull-through cache is not supported by this version; keep distribution for a mirror",
    ]


def test_a_document_with_everything_that_is_supported_is_read_to_the_last_key() -> None:
    read = parse(WHOLE, {})
    assert read.warnings == ()
    assert (read.log.formatter, read.log.accesslog.disabled) == ("json", True)
    assert read.storage.driver_parameters == {
        "rootdirectory": "/srv/registry",
        "maxthreads": 50,
        "directio": True,
    }
    purging = read.storage.maintenance.uploadpurging
    assert (purging.age, purging.interval) == (172800.0, 45000.0)
    assert (read.http.prefix, read.http.host) == (
        "/my/nested/registry/",
        "https://myregistryaddress.org:5000",
    )
    assert read.http.draintimeout == 60.0
    (endpoint,) = read.notifications.endpoints
    assert (endpoint.name, endpoint.disabled, endpoint.ignore.actions) == ("alistener", True, ("pull",))
    (check,) = read.health.http
    assert (check.uri, check.statuscode, check.timeout) == (
        "http://server.to.check/must/return/200",
        200,
        3.0,
    )
    assert read.validation.manifests.indexes.platforms == "list"
    assert (read.catalog.maxentries, read.tags.maxtags) == (500, 200)
    assert read.policy.repository.classes == ("image", "plugin")


@pytest.mark.parametrize("driver", ["s3", "azure", "gcs"])
def test_a_document_with_two_drivers_is_told_so_first(driver: str) -> None:
    text = WHOLE.replace("  tag:\n", f"  {driver}:\n    bucket: bucketname\n  tag:\n", 1)
    assert problems(text)[0] == f"storage: multiple storage drivers: filesystem, {driver}; name exactly one"
