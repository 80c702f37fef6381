import { PackageURL } from 'packageurl-js'
import type { Distribution, Package } from './package.ts'

/** Whose packages of a kind they are where os-release does not say. */
const NAMESPACES = { deb: 'debian', apk: 'alpine', rpm: 'redhat' } as const

/** A package URL (purl-spec, "Package URL types"); undefined for a name that none can have. Pure. */
export function purlOf(found: Package, distribution: Distribution | undefined): string | undefined {
  const { type, name, version } = found
  try {
    if (type === 'pypi') return new PackageURL(type, null, name, version, null, null).toString()
    if (type === 'npm') {
      const [, namespace, own] = /^(@[^/]+)\/(.+)$/.exec(name) ?? []
      return new PackageURL(type, namespace ?? null, own ?? name, version, null, null).toString()
    }
    const namespace = distribution?.id ?? NAMESPACES[type]
    return new PackageURL(type, namespace, name, version, qualifiersOf(found, distribution), null).toString()
  } catch {
    return undefined
  }
}

function qualifiersOf({ architecture, epoch, source }: Package, distribution: Distribution | undefined) {
  const { id, version } = distribution ?? {}
  return {
    ...(architecture ? { arch: architecture } : {}),
    ...(id ? { distro: version ? `${id}-${version}` : id } : {}),
    ...(epoch ? { epoch: String(epoch) } : {}),
    ...(source ? { upstream: source } : {}),
  }
}

/** An image by one of its tags, as BuildKit names the subjects of its attestations. Pure. */
export function imagePurl(repository: string, tag: string, platform: string): string {
  const [, namespace, name] = /^(.+)\/([^/]+)$/.exec(repository) ?? []
  return new PackageURL('docker', namespace ?? null, name ?? repository, tag, { platform }, null).toString()
}
