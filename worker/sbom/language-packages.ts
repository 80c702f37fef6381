import { z } from 'zod'
import type { Package } from './package.ts'
import { findFiles } from './package-files.ts'
import type { RootFiles } from './root-files.ts'
import { stanzasOf } from './stanzas.ts'

/** What npm writes of what it installed (npm's package-lock.json, "Hidden Lockfiles"). */
const NPM = /\/node_modules\/\.package-lock\.json$/
/** Core metadata of what pip and others installed (packaging.python.org, "Recording installed projects"). */
const PYTHON = /\.dist-info\/METADATA$/

const lockSchema = z.object({ packages: z.record(z.string(), z.unknown()) })
const lockedSchema = z.object({
  name: z.string().max(300).optional(),
  version: z.string().min(1).max(300),
  license: z.string().optional().catch(undefined),
  /** Into a folder of the image, which is no package of a registry. */
  link: z.boolean().optional(),
})

/** Packages of npm and of Python, wherever they are in the image. */
export async function languagePackages(files: RootFiles): Promise<Package[]> {
  const found: Package[] = []
  for (const path of await findFiles(files, path => NPM.test(path) || PYTHON.test(path))) {
    const text = await files.text(path)
    if (text === undefined) continue
    if (NPM.test(path)) found.push(...npmPackages(files, path, text))
    else found.push(...pythonPackages(files, path, text))
  }
  return found
}

function npmPackages(files: RootFiles, path: string, text: string): Package[] {
  const lock = lockSchema.safeParse(parsed(text))
  if (!lock.success) {
    files.warn(path, 'it is no lock file of npm')
    return []
  }
  return Object.entries(lock.data.packages).flatMap(([place, entry]) => {
    const locked = lockedSchema.safeParse(entry).data
    const name = locked?.name ?? place.split('node_modules/').at(-1)
    if (!locked || locked.link || !name || !place.includes('node_modules/')) return []
    return [{ type: 'npm' as const, name, version: locked.version, license: locked.license }]
  })
}

function pythonPackages(files: RootFiles, path: string, text: string): Package[] {
  const { value: fields } = stanzasOf(text).next()
  const [name, version] = [fields?.get('name'), fields?.get('version')]
  if (!fields || !name || !version) {
    files.warn(path, 'it has no name and version')
    return []
  }
  const license = fields.get('license-expression') ?? fields.get('license')
  const author = fields.get('author-email') ?? fields.get('author')
  return [{ type: 'pypi', name, version, license, supplier: author, homepage: fields.get('home-page') }]
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
