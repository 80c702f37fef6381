import { apkPackages } from './apk.ts'
import { dpkgPackages } from './dpkg.ts'
import { languagePackages } from './language-packages.ts'
import { distributionOf } from './os-release.ts'
import type { Distribution, Found, Package } from './package.ts'
import { openRootFiles } from './root-files.ts'
import { rpmPackages } from './rpm.ts'

/** A document of so many has about 30 MB. */
const MAX_PACKAGES = 50_000

/**
 * The packages of an image whose root filesystem is at `root`, each once, in order. What cannot be read is a warning. Throws when
 * aborted only. Nothing may run in the root meanwhile.
 */
export async function findPackages(
  root: string,
  signal: AbortSignal,
): Promise<Found & { distribution: Distribution | undefined }> {
  const files = openRootFiles(root, signal)
  const distribution = await distributionOf(files)
  const all: Package[] = []
  for (const read of [dpkgPackages, apkPackages, rpmPackages, languagePackages]) all.push(...(await read(files)))
  const packages = distinct(all)
  if (packages.length > MAX_PACKAGES) {
    files.warn('/', `it has ${packages.length} packages, and ${MAX_PACKAGES} are the most that are listed`)
  }
  return { packages: packages.slice(0, MAX_PACKAGES), warnings: files.warnings, distribution }
}

/** npm has one package in many places. */
function distinct(all: readonly Package[]): Package[] {
  const keyOf = ({ type, name, version, architecture = '' }: Package) =>
    JSON.stringify([type, name, version, architecture])
  const byKey = new Map(all.map(found => [keyOf(found), found]))
  return [...byKey].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, found]) => found)
}
