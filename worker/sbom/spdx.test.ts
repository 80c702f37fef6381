import { expect, test } from 'vitest'
import { z } from 'zod'
import type { Package } from './package.ts'
import { spdxDocument } from './spdx.ts'

const sha256 = 'a'.repeat(64)
const image = { sha256, name: 'app:1', purl: 'pkg:docker/app@1', created: '2026-01-02T03:04:05.678Z' }
const packages: Package[] = [
  { type: 'deb', name: 'libc6', version: '2.36-9', architecture: 'amd64', supplier: 'GNU Libc <a@b.example>' },
  { type: 'npm', name: '@a/b', version: '1.0.0', license: '(MIT OR Apache-2.0)', homepage: 'no address' },
  { type: 'pypi', name: 'Flask', version: '3.0', license: 'do what you like' },
]
const made = () => spdxDocument(image, packages, { id: 'debian', version: '12', name: 'Debian 12' }, '0.1.0')

/** What SPDX 2.3 asks of its JSON (spdx-spec v2.3, clauses 6, 7 and 11), of the fields that are written here. */
const id = z.string().regex(/^SPDXRef-[A-Za-z0-9.-]+$/)
const actor = z.string().regex(/^(NOASSERTION|(Organization|Person): .+)$/)
const documentSchema = z.strictObject({
  spdxVersion: z.literal('SPDX-2.3'),
  dataLicense: z.literal('CC0-1.0'),
  SPDXID: z.literal('SPDXRef-DOCUMENT'),
  name: z.string().min(1),
  documentNamespace: z.url().regex(/^[^#]+$/),
  creationInfo: z.strictObject({
    created: z.string().regex(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/),
    creators: z.array(z.string().regex(/^(Tool|Person|Organization): .+$/)).min(1),
  }),
  packages: z.array(
    z.strictObject({
      SPDXID: id,
      name: z.string().min(1),
      versionInfo: z.string(),
      primaryPackagePurpose: z.enum(['CONTAINER']).optional(),
      downloadLocation: z.literal('NOASSERTION'),
      filesAnalyzed: z.literal(false),
      licenseConcluded: z.string(),
      licenseDeclared: z.string(),
      licenseComments: z.string().optional(),
      copyrightText: z.string(),
      supplier: actor.optional(),
      homepage: z.url().optional(),
      sourceInfo: z.string().optional(),
      summary: z.string().optional(),
      checksums: z.array(z.strictObject({ algorithm: z.literal('SHA256'), checksumValue: z.string() })).optional(),
      externalRefs: z.array(
        z.strictObject({
          referenceCategory: z.literal('PACKAGE-MANAGER'),
          referenceType: z.literal('purl'),
          referenceLocator: z.string().startsWith('pkg:'),
        }),
      ),
    }),
  ),
  relationships: z.array(
    z.strictObject({
      spdxElementId: id,
      relationshipType: z.enum(['DESCRIBES', 'CONTAINS']),
      relatedSpdxElement: id,
    }),
  ),
})

test('a document of SPDX 2.3, whose relationships name what is in it', () => {
  const document = documentSchema.parse(made())
  const ids = ['SPDXRef-DOCUMENT', ...document.packages.map(({ SPDXID }) => SPDXID)]
  expect(new Set(ids).size).toBe(ids.length)
  for (const { spdxElementId, relatedSpdxElement } of document.relationships) {
    expect(ids).toContain(spdxElementId)
    expect(ids).toContain(relatedSpdxElement)
  }
})

test('licenses that are none of SPDX are comments, addresses that are none are left out', () => {
  const [, deb, npm, pypi] = made().packages
  expect(deb).toMatchObject({ licenseDeclared: 'NOASSERTION', supplier: 'Organization: GNU Libc (a@b.example)' })
  expect(npm).toMatchObject({ licenseDeclared: '(MIT OR Apache-2.0)' })
  expect(npm).not.toHaveProperty('homepage')
  expect(pypi).toMatchObject({ licenseDeclared: 'NOASSERTION', licenseComments: 'The package says: do what you like' })
  expect([deb, npm, pypi].map(one => one?.externalRefs?.[0]?.referenceLocator)).toEqual([
    'pkg:deb/debian/libc6@2.36-9?arch=amd64&distro=debian-12',
    'pkg:npm/%40a/b@1.0.0',
    'pkg:pypi/flask@3.0',
  ])
})

test('the same image gives the same document, another one another namespace', () => {
  expect(made()).toEqual(made())
  const other = spdxDocument({ ...image, sha256: 'b'.repeat(64) }, packages, undefined, '0.1.0')
  expect(other.documentNamespace).not.toBe(made().documentNamespace)
})
