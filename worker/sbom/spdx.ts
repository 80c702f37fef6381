import { createHash } from 'node:crypto'
import parseLicense from 'spdx-expression-parse'
import type { Distribution, Package } from './package.ts'
import { purlOf } from './purl.ts'

export interface DescribedImage {
  /** The digest of its manifest, in hex. */
  sha256: string
  /** How people call it. */
  name: string
  purl: string
  /** ISO 8601. */
  created: string
}

const UNKNOWN = 'NOASSERTION'
const TEXT_LIMIT = 1000

/**
 * An SPDX 2.3 document (spdx.github.io/spdx-spec/v2.3) of what an image holds. The same image gives the same document: it has the time
 * of the image, and its namespace is made of what it says. Pure.
 */
export function spdxDocument(
  image: DescribedImage,
  packages: readonly Package[],
  distribution: Distribution | undefined,
  version: string,
) {
  const described = packages.map((found, at) => packageOf(found, at, distribution))
  const all = [imagePackage(image, distribution), ...described]
  return {
    spdxVersion: 'SPDX-2.3',
    dataLicense: 'CC0-1.0',
    SPDXID: 'SPDXRef-DOCUMENT',
    name: image.name,
    documentNamespace: `urn:uuid:${uuidOf(JSON.stringify(all))}`,
    creationInfo: { created: `${image.created.slice(0, 19)}Z`, creators: [`Tool: slipway-${version}`] },
    packages: all,
    relationships: [
      relation('SPDXRef-DOCUMENT', 'DESCRIBES', 'SPDXRef-Image'),
      ...described.map(({ SPDXID }) => relation('SPDXRef-Image', 'CONTAINS', SPDXID)),
    ],
  }
}

function relation(spdxElementId: string, relationshipType: string, relatedSpdxElement: string) {
  return { spdxElementId, relationshipType, relatedSpdxElement }
}

function imagePackage({ sha256, name, purl }: DescribedImage, distribution: Distribution | undefined) {
  return {
    ...{ SPDXID: 'SPDXRef-Image', name, versionInfo: `sha256:${sha256}`, primaryPackagePurpose: 'CONTAINER' },
    ...{ downloadLocation: UNKNOWN, filesAnalyzed: false, licenseConcluded: UNKNOWN, licenseDeclared: UNKNOWN },
    ...{ copyrightText: UNKNOWN, checksums: [{ algorithm: 'SHA256', checksumValue: sha256 }] },
    ...(distribution ? { summary: `On ${distribution.name}` } : {}),
    externalRefs: [purlReference(purl)],
  }
}

function packageOf(found: Package, at: number, distribution: Distribution | undefined) {
  const purl = purlOf(found, distribution)
  const { name, version, supplier, homepage, source } = found
  return {
    ...{ SPDXID: `SPDXRef-Package-${found.type}-${at + 1}`, name: short(name), versionInfo: short(version) },
    ...{ downloadLocation: UNKNOWN, filesAnalyzed: false, copyrightText: UNKNOWN },
    ...{ licenseConcluded: UNKNOWN, ...licenseOf(found.license) },
    ...(supplier ? { supplier: supplierOf(supplier) } : {}),
    ...(homepage && URL.canParse(homepage) ? { homepage } : {}),
    ...(source ? { sourceInfo: `built from source package: ${short(source)}` } : {}),
    ...(purl ? { externalRefs: [purlReference(purl)] } : {}),
  }
}

function purlReference(purl: string) {
  return { referenceCategory: 'PACKAGE-MANAGER', referenceType: 'purl', referenceLocator: purl }
}

/** Only an expression of SPDX may be in the field; other words are kept as a comment. */
function licenseOf(declared: string | undefined): { licenseDeclared: string; licenseComments?: string } {
  if (!declared) return { licenseDeclared: UNKNOWN }
  try {
    parseLicense(short(declared))
    return { licenseDeclared: declared }
  } catch {
    return { licenseDeclared: UNKNOWN, licenseComments: `The package says: ${short(declared)}` }
  }
}

/** `Organization: name (address)`; what a maintainer is, person or team, is not known. */
function supplierOf(text: string): string {
  const [, name = '', address = ''] = /^\s*"?([^<"]*)"?\s*(?:<([^>]*)>)?/.exec(short(text)) ?? []
  const called = name.trim() || address.trim()
  if (called === '') return UNKNOWN
  return `Organization: ${called}${address && name.trim() ? ` (${address.trim()})` : ''}`
}

function short(text: string): string {
  return text.length > TEXT_LIMIT ? text.slice(0, TEXT_LIMIT) : text
}

/** Of version 8 (RFC 9562, 5.8): made of a hash. */
function uuidOf(text: string): string {
  const bytes = createHash('sha256').update(text).digest().subarray(0, 16)
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x80
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80
  return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')
}
