import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { findPackages } from './find-packages.ts'

let root: string
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'slipway-sbom-'))
})
afterEach(() => rmSync(root, { recursive: true, force: true }))

function write(path: string, text: string): void {
  mkdirSync(dirname(join(root, path)), { recursive: true })
  writeFileSync(join(root, path), text)
}
const find = () => findPackages(root, new AbortController().signal)
const named = async () => (await find()).packages.map(({ type, name, version }) => `${type} ${name} ${version}`)

test('dpkg: what is installed, in one file or in one each; what was removed is not', async () => {
  const paragraph = (name: string, status: string) =>
    `Package: ${name}\nStatus: ${status}\nArchitecture: amd64\nSource: src-${name} (1)\nDescription: one\n .\n more\nVersion: 1:2-3\n`
  write(
    'var/lib/dpkg/status',
    `${paragraph('a', 'install ok installed')}\n${paragraph('b', 'deinstall ok config-files')}`,
  )
  write('var/lib/dpkg/status.d/c', 'Package: c\nVersion: 4\n')
  write('var/lib/dpkg/status.d/c.md5sums', 'Package: d\nVersion: 4\n')
  expect(await named()).toEqual(['deb a 1:2-3', 'deb c 4'])
  expect((await find()).packages[0]).toMatchObject({ architecture: 'amd64', source: 'src-a' })
})

test('apk, npm and Python, and whose distribution it is', async () => {
  write('etc/os-release', 'ID=alpine\nVERSION_ID="3.20"\nNAME=Alpine\n')
  write('lib/apk/db/installed', 'P:musl\nV:1.2-r3\nA:x86_64\nL:MIT\n\nP:zlib\nV:1.3-r1\n')
  write(
    'app/node_modules/.package-lock.json',
    JSON.stringify({
      lockfileVersion: 3,
      packages: { 'node_modules/@a/b': { version: '1.0.0' }, 'node_modules/c': { version: '2.0.0' } },
    }),
  )
  write(
    'usr/lib/python3/dist-packages/flask-3.dist-info/METADATA',
    'Metadata-Version: 2.1\nName: Flask\nVersion: 3.0\n\nFlask: is\n',
  )
  expect(await named()).toEqual([
    'apk musl 1.2-r3',
    'apk zlib 1.3-r1',
    'npm @a/b 1.0.0',
    'npm c 2.0.0',
    'pypi Flask 3.0',
  ])
  expect((await find()).distribution).toMatchObject({ id: 'alpine', version: '3.20' })
})

test('damaged databases give what can be read of them, and a warning', async () => {
  write('var/lib/dpkg/status', 'Package: a\nVersion: 1\n\nPackage: b\n\n\u0000\u0001')
  write('var/lib/rpm/rpmdb.sqlite', 'SQLite format 3\u0000 and nothing else')
  write('app/node_modules/.package-lock.json', '{"packages":')
  const { packages, warnings } = await find()
  expect(packages.map(({ name }) => name)).toEqual(['a'])
  expect(warnings).toHaveLength(3)
})

test('links do not lead out of the image', async () => {
  const outside = mkdtempSync(join(tmpdir(), 'slipway-outside-'))
  try {
    writeFileSync(join(outside, 'status'), 'Package: host\nVersion: 1\n')
    mkdirSync(join(root, 'var/lib/dpkg'), { recursive: true })
    symlinkSync(join(outside, 'status'), join(root, 'var/lib/dpkg/status'))
    symlinkSync(outside, join(root, 'var/lib/dpkg/status.d'))
    expect(await named()).toEqual([])
  } finally {
    rmSync(outside, { recursive: true })
  }
})
