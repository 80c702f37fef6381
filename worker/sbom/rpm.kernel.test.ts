import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { findPackages } from './find-packages.ts'
import { purlOf } from './purl.ts'

/** A database as rpm itself makes it. */

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'slipway-rpm-'))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const SPEC = `
Name: sample
Version: 1.2
Release: 3
Epoch: 7
Summary: A sample
License: MIT
URL: https://sample.example/
Vendor: Sample Makers
BuildArch: noarch
%description
A sample.
%files
`

function installedRoot(name: string): string {
  const root = join(folder, name)
  mkdirSync(join(root, 'var/lib/rpm'), { recursive: true })
  writeFileSync(join(folder, 'sample.spec'), SPEC)
  const top = `_topdir ${join(folder, 'build')}`
  execFileSync('rpmbuild', ['--quiet', '-bb', '--define', top, join(folder, 'sample.spec')], { stdio: 'ignore' })
  const built = join(folder, 'build/RPMS/noarch/sample-1.2-3.noarch.rpm')
  const database = ['--dbpath', join(root, 'var/lib/rpm'), '--define', '_db_backend sqlite']
  execFileSync('rpm', [...database, '--force-debian', '--justdb', '--nodeps', '-i', built])
  return root
}
const find = (root: string) => findPackages(root, new AbortController().signal)

test('packages of rpm with version and release, epoch, license and source', async () => {
  const root = installedRoot('plain')
  const { packages, warnings } = await find(root)
  expect(warnings).toEqual([])
  expect(packages).toEqual([
    {
      ...{ type: 'rpm', name: 'sample', version: '1.2-3', epoch: 7, architecture: 'noarch', license: 'MIT' },
      ...{ supplier: 'Sample Makers', homepage: 'https://sample.example/', source: 'sample-1.2-3.src.rpm' },
    },
  ])
  const fedora = { id: 'fedora', version: '41', name: 'Fedora' }
  expect(packages.map(found => purlOf(found, fedora))).toEqual([
    'pkg:rpm/fedora/sample@1.2-3?arch=noarch&distro=fedora-41&epoch=7&upstream=sample-1.2-3.src.rpm',
  ])
})

test('a view that goes on for ever is not asked', async () => {
  const path = join(folder, 'endless/var/lib/rpm/rpmdb.sqlite')
  mkdirSync(dirname(path), { recursive: true })
  using database = new DatabaseSync(path)
  database.exec(
    'CREATE VIEW Packages AS WITH RECURSIVE n(blob) AS (SELECT 1 UNION ALL SELECT 1 FROM n) SELECT blob FROM n',
  )
  expect((await find(join(folder, 'endless'))).packages).toEqual([])
})

test.each([
  [
    'a computed column',
    'blob BLOB GENERATED ALWAYS AS (zeroblob(300000000)) VIRTUAL',
    'INSERT INTO Packages(hnum) VALUES (1)',
  ],
  ['a blob that no package has', 'blob BLOB', 'INSERT INTO Packages VALUES (1, zeroblob(150000000))'],
])('%s is not read into memory', async (name, column, insert) => {
  const root = join(folder, name)
  const path = join(root, 'var/lib/rpm/rpmdb.sqlite')
  mkdirSync(dirname(path), { recursive: true })
  const database = new DatabaseSync(path)
  database.exec(`CREATE TABLE Packages(hnum INTEGER PRIMARY KEY, ${column}); ${insert}`)
  database.close()
  const before = process.memoryUsage().rss
  expect((await find(root)).packages).toEqual([])
  expect(process.memoryUsage().rss - before).toBeLessThan(100_000_000)
})

test('a database of another kind is said not to be read', async () => {
  const path = join(folder, 'ndb/usr/lib/sysimage/rpm/Packages.db')
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, 'RpmP')
  const { warnings } = await find(join(folder, 'ndb'))
  expect(warnings).toEqual([expect.stringContaining('/usr/lib/sysimage/rpm/Packages.db')])
})
