import { lstatSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { setImmediate } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import { resolveInRootSync } from '../host/rooted-fs.ts'
import type { Package } from './package.ts'
import type { RootFiles } from './root-files.ts'
import { rpmPackage } from './rpm-header.ts'

const FOLDERS = ['/usr/lib/sysimage/rpm', '/var/lib/rpm', '/usr/share/rpm']
const SQLITE = 'rpmdb.sqlite'
/** ndb of SUSE, and Berkeley DB of what is older than Fedora 33 and RHEL 9. */
const UNREAD = ['Packages.db', 'Packages']
const DATABASE_BYTES = 1024 ** 3
/** Of one package's header; rpm's own bound is 16 MiB of data. */
const BLOB_BYTES = 16 * 1024 ** 2
/** Between two pauses, in which everything else of this process goes on. A row costs as much as so many of its bytes. */
const BYTES_AT_ONCE = 4 * 1024 ** 2
const ROW_BYTES = 32 * 1024

/** Packages that rpm has installed, of a database in SQLite: rpm's default since 4.16. */
export async function rpmPackages(files: RootFiles): Promise<Package[]> {
  const places = FOLDERS.map(folder => ({ folder, path: fileAt(files, `${folder}/${SQLITE}`) }))
  const found = places.find(({ path }) => path !== undefined)
  if (found?.path !== undefined) return packagesOf(files, `${found.folder}/${SQLITE}`, found.path)
  const unread = FOLDERS.flatMap(folder => UNREAD.map(name => `${folder}/${name}`)).find(path => fileAt(files, path))
  if (unread) files.warn(unread, 'of the databases of rpm only those in SQLite are read')
  return []
}

/** The path on the host of a file that is not empty. */
function fileAt({ root }: RootFiles, path: string): string | undefined {
  try {
    const real = resolveInRootSync(root, path)
    const stat = lstatSync(real, { throwIfNoEntry: false })
    return stat?.isFile() && stat.size > 0 ? real : undefined
  } catch {
    return undefined // Links in a circle.
  }
}

async function packagesOf(files: RootFiles, shown: string, path: string): Promise<Package[]> {
  if (lstatSync(path).size > DATABASE_BYTES) {
    files.warn(shown, 'it is larger than 1 GiB')
    return []
  }
  if (fileAt(files, `${shown}-wal`)) files.warn(`${shown}-wal`, 'changes that SQLite has not taken in are not read')
  const found: Package[] = []
  try {
    using database = open(path)
    let bytes = 0
    for (const { blob } of rowsOf(database)) {
      if (!(blob instanceof Uint8Array)) continue
      const one = rpmPackage(Buffer.from(blob.buffer, blob.byteOffset, blob.byteLength))
      if (one) found.push(one)
      bytes += blob.byteLength + ROW_BYTES
      if (bytes < BYTES_AT_ONCE) continue
      bytes = 0
      await setImmediate() // SQLite answers in this process, which has other work.
      files.signal.throwIfAborted()
    }
  } catch (error) {
    files.signal.throwIfAborted()
    files.warn(shown, `SQLite cannot read it (${error instanceof Error ? error.message : 'damaged'})`)
  }
  return found
}

/** Immutable: SQLite makes no file beside it, and takes no lock. */
function open(path: string): DatabaseSync {
  const url = pathToFileURL(path)
  url.searchParams.set('immutable', '1')
  const database = new DatabaseSync(url, { readOnly: true })
  database.exec('PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON')
  return database
}

/** A table's rows, whose number and bytes the file bounds: a view of that name, or a computed column, could go on for ever. */
function rowsOf(database: DatabaseSync) {
  const [kind] = database.prepare("SELECT type, sql FROM sqlite_master WHERE name = 'Packages'").all()
  if (kind?.type !== 'table' || /^\s*create\s+virtual/i.test(String(kind.sql))) return []
  const column = database.prepare("SELECT hidden FROM pragma_table_xinfo('Packages') WHERE name = 'blob'").get()
  if (column?.hidden !== 0) return []
  return database.prepare(`SELECT blob FROM Packages NOT INDEXED WHERE length(blob) <= ${BLOB_BYTES}`).iterate()
}
