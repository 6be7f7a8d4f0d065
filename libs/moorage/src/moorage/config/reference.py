"""The keys that distribution reads, in any of its versions from 2.0 on.

What the models have beyond them is Moorage's own. Sources: distribution's `configuration/configuration.go`
and `docs/content/about/configuration.md` at the tags v2.0 to v3.1; the drivers' parameters in
`registry/storage/driver/*`; go-redis' `UniversalOptions`.
"""

from __future__ import annotations

from collections.abc import Iterator

# A section, then what stands in it. A list of sections is `name[]`; a map with free keys has no line.
_KEYS = """
version loglevel

log: accesslog level formatter fields reportcaller hooks
log.accesslog: disabled
log.hooks[]: type disabled levels options
log.hooks[].options: smtp from to
log.hooks[].options.smtp: addr username password insecure

storage: filesystem inmemory s3 s3aws rados azure gcs swift oss delete maintenance cache redirect tag
storage.filesystem: rootdirectory maxthreads
storage.s3: accesskey secretkey sessiontoken bucket region regionendpoint redirectendpoint forcepathstyle
storage.s3: encrypt keyid secure skipverify v4auth chunksize multipartcopychunksize
storage.s3: multipartcopymaxconcurrency multipartcopythresholdsize
storage.s3: rootdirectory storageclass useragent objectacl usedualstack accelerate
storage.s3: usefipsendpoint loglevel
storage.s3aws: accesskey secretkey sessiontoken bucket region regionendpoint redirectendpoint
storage.s3aws: forcepathstyle encrypt keyid secure skipverify v4auth chunksize multipartcopychunksize
storage.s3aws: multipartcopymaxconcurrency multipartcopythresholdsize
storage.s3aws: rootdirectory storageclass useragent objectacl usedualstack accelerate
storage.s3aws: usefipsendpoint loglevel
storage.rados: poolname username chunksize
storage.azure: accountname accountkey container rootdirectory realm connectionstring serviceurl skipverify
storage.azure: credentials max_retries retry_delay
storage.gcs: bucket keyfile credentials rootdirectory chunksize maxconcurrency useragent
storage.swift: username password authurl tenant tenantid domain domainid tenantdomain tenantdomainid trustid
storage.swift: region container endpointtype insecureskipverify chunksize prefix secretkey accesskey
storage.swift: authversion tempurlcontainerkey tempurlmethods
storage.oss: accesskeyid accesskeysecret region endpoint internal bucket encrypt encryptionkeyid secure
storage.oss: chunksize rootdirectory
storage.delete: enabled
storage.redirect: disable
storage.tag: concurrencylimit
storage.cache: blobdescriptor layerinfo blobdescriptorsize
storage.maintenance: uploadpurging readonly
storage.maintenance.uploadpurging: enabled age interval dryrun
storage.maintenance.readonly: enabled

auth: none silly htpasswd token
auth.silly: realm service
auth.htpasswd: realm path
auth.token: realm service issuer rootcertbundle jwks signingalgorithms autoredirect autoredirectpath

middleware: registry repository storage
middleware.registry[]: name disabled options
middleware.repository[]: name disabled options
middleware.storage[]: name disabled options

http: addr net host prefix secret relativeurls draintimeout tls headers debug http2 h2c
http.tls: certificate key clientcas clientauth minimumtls ciphersuites letsencrypt
http.tls.letsencrypt: cachefile email hosts directoryurl
http.debug: addr prometheus
http.debug.prometheus: enabled path
http.http2: disabled
http.h2c: enabled

notifications: events endpoints
notifications.events: includereferences
notifications.endpoints[]: name disabled url headers timeout threshold backoff ignoredmediatypes ignore
notifications.endpoints[].ignore: mediatypes actions

redis: addr addrs mastername isclustermode db username password sentinelusername sentinelpassword clientname
redis: protocol disableidentity disableindentity identitysuffix dialtimeout readtimeout writetimeout
redis: pooltimeout contexttimeoutenabled maxretries minretrybackoff maxretrybackoff maxredirects poolsize
redis: poolfifo minidleconns maxidleconns maxactiveconns connmaxidletime connmaxlifetime readonly
redis: routebylatency routerandomly unstableresp3 pool tls
redis.pool: maxidle maxactive idletimeout
redis.tls: enabled certificate key clientcas rootcas

health: storagedriver file http tcp
health.storagedriver: enabled interval threshold
health.file[]: file interval threshold
health.http[]: uri headers statuscode timeout interval threshold
health.tcp[]: addr timeout interval threshold

proxy: remoteurl username password ttl exec cachewritetimeout remotenamespace
proxy.exec: command lifetime

validation: enabled disabled manifests
validation.manifests: urls indexes
validation.manifests.urls: allow deny
validation.manifests.indexes: platforms platformlist
validation.manifests.indexes.platformlist[]: architecture os
policy: repository
policy.repository: classes

catalog: maxentries
tags: maxtags

compatibility: schema1
compatibility.schema1: enabled signingkeyfile
reporting: bugsnag newrelic
reporting.bugsnag: apikey releasestage endpoint
reporting.newrelic: licensekey name verbose
"""


def _read() -> Iterator[str]:
    for line in _KEYS.splitlines():
        section, colon, names = line.partition(":")
        if not colon:
            yield from section.split()
            continue
        yield section.removesuffix("[]")
        yield from (f"{section}.{name}" for name in names.split())


REFERENCE_KEYS = frozenset(_read())
"""Dotted, an item of a list as `key[]`, as `schema.every_key` writes them."""


def is_own(key: str) -> bool:
    """Whether a key is Moorage's own. What stands under a map of distribution's with free keys is not."""
    return key not in REFERENCE_KEYS
