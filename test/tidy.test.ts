import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { describe, expect, test } from 'vitest'

/** The layout's rules (ARCHITECTURE.md): who may import whom, how long files and functions get, what names mean. */

const root = join(import.meta.dirname, '..')
const files = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard', '*.ts'], {
  cwd: root,
  encoding: 'utf8',
})
  .split('\n')
  .filter(Boolean)

const isTest = (file: string) => /\.(test|contract)\.ts$/.test(file) || file.startsWith('test/')
const isMain = (file: string) => /^(control-plane|worker)\/(main[.\w]*|remove-all)\.ts$/.test(file)

interface Import {
  file: string
  /** A path of this repository, or a package's name. */
  target: string
  isPackage: boolean
}

const imports = files.flatMap(importsOf)

function importsOf(file: string): Import[] {
  const text = readFileSync(join(root, file), 'utf8')
  const found = [...text.matchAll(/(?:^|\n)(?:import|export)\b[^'"\n;]*?(?:\n[^'"\n]*?)*?from '([^']+)'/g)]
  const bare = [...text.matchAll(/(?:^|\n)import '([^']+)'|\bimport\('([^']+)'\)/g)]
  return [...found, ...bare].map(match => resolveImport(file, match[1] ?? match[2] ?? ''))
}

function resolveImport(file: string, specifier: string): Import {
  if (specifier.startsWith('.')) return { file, target: normalize(join(dirname(file), specifier)), isPackage: false }
  if (specifier.startsWith('#')) return { file, target: specifier.slice(1), isPackage: false }
  return { file, target: specifier, isPackage: true }
}

const product = imports.filter(({ file }) => !isTest(file))
const list = (found: Import[]) => found.map(({ file, target }) => `${file} imports ${target}`)

/** Which folders may be imported from which, besides their own and `shared`; `port` files are named one by one. */
const PORTS = [
  'worker/snapshot/snapshotter.ts',
  'worker/runtime/oci-runtime.ts',
  'worker/network/network-driver.ts',
  'worker/image/image-store.ts',
  'worker/agent/control-plane.ts',
]
const ALLOWED: Record<string, string[]> = {
  'control-plane/routes': [
    'control-plane/intent',
    'control-plane/ingest',
    'control-plane/registry',
    'control-plane/ports.ts',
    'control-plane/store',
    'control-plane/notify',
  ],
  'control-plane/intent': [
    'control-plane/forges',
    'control-plane/registry',
    'control-plane/store',
    'control-plane/notify',
    'control-plane/ports.ts',
  ],
  'control-plane/ingest': ['control-plane/store', 'control-plane/notify', 'control-plane/ports.ts'],
  'control-plane/registry': ['control-plane/store', 'control-plane/notify', 'control-plane/ports.ts'],
  'control-plane/forges': [],
  'control-plane/notify': ['control-plane/store', 'control-plane/ports.ts'],
  'control-plane/store': [],
  'control-plane/adapters': [],
  'worker/reconcile': [],
  'worker/observe': ['worker/host', ...PORTS, 'worker/reconcile'],
  'worker/agent': ['worker/observe', 'worker/reconcile', 'worker/execute', 'worker/host', ...PORTS],
  'worker/host': [],
  'worker/layer': ['worker/host'],
  'worker/snapshot': ['worker/host', 'worker/layer'],
  'worker/image': ['worker/host', 'worker/layer', ...PORTS],
  'worker/network': ['worker/host'],
  'worker/runtime': ['worker/host'],
  'worker/execute': ['worker/host', 'worker/layer', 'worker/observe', 'worker/reconcile', 'worker/runtime', ...PORTS],
  'worker/dockerfile': [],
  'worker/source': ['worker/host', 'worker/layer'],
  'worker/sbom': ['worker/host'],
  'worker/build': [
    ...['worker/dockerfile', 'worker/source', 'worker/sbom', 'worker/host', 'worker/layer', 'worker/runtime'],
    'worker/execute',
    ...PORTS,
  ],
}
const folderOf = (path: string) => path.split('/').slice(0, 2).join('/')

describe('imports', () => {
  test('are read at all', () => {
    expect(imports.length).toBeGreaterThan(100)
    expect(imports).toContainEqual({ file: 'shared/digest.ts', target: 'shared/errors.ts', isPackage: false })
  })

  test('shared imports nothing but zod', () => {
    const wrong = product.filter(
      ({ file, target, isPackage }) =>
        file.startsWith('shared/') && (isPackage ? target !== 'zod' : !target.startsWith('shared/')),
    )
    expect(list(wrong)).toEqual([])
  })

  test('control-plane and worker never import each other', () => {
    const wrong = imports.filter(
      ({ file, target, isPackage }) =>
        !isPackage &&
        ((file.startsWith('control-plane/') && target.startsWith('worker/')) ||
          (file.startsWith('worker/') && target.startsWith('control-plane/'))),
    )
    expect(list(wrong)).toEqual([])
  })

  test.each(Object.keys(ALLOWED))('%s imports only what the layout allows', folder => {
    const allowed = [folder, 'shared', ...(ALLOWED[folder] ?? [])]
    const wrong = product.filter(
      ({ file, target, isPackage }) =>
        folderOf(file) === folder &&
        !isPackage &&
        !allowed.some(path => target === path || target.startsWith(`${path}/`)),
    )
    expect(list(wrong)).toEqual([])
  })

  test('only main files build adapters', () => {
    const wrong = product.filter(
      ({ file, target }) =>
        target.startsWith('control-plane/adapters/') && !file.startsWith('control-plane/adapters/') && !isMain(file),
    )
    expect(list(wrong)).toEqual([])
  })

  test.each([
    ['drizzle-orm', /^control-plane\/store\//],
    ['koffi', /^worker\/host\//],
    ['node:child_process', /^(worker\/host|infra)\//],
    ['@aws-sdk/', /^control-plane\/adapters\//],
    ['node:sqlite', /^(control-plane\/adapters\/|worker\/sbom\/rpm\.ts$)/],
  ])('%s is imported in its one place', (name, place) => {
    const wrong = product.filter(
      ({ file, target, isPackage }) => isPackage && target.startsWith(name) && !place.test(file),
    )
    expect(list(wrong)).toEqual([])
  })
})

describe('files', () => {
  test.each(files)('%s has at most 400 lines', file => {
    expect(readFileSync(join(root, file), 'utf8').split('\n').length).toBeLessThanOrEqual(401)
  })

  test('only main files read the environment', () => {
    const readers = files.filter(
      file =>
        /^(shared|control-plane|worker)\//.test(file) &&
        !isTest(file) &&
        !isMain(file) &&
        /\bprocess\.env\b/.test(
          readFileSync(join(root, file), 'utf8').replaceAll('env: options.env ?? process.env', ''),
        ),
    )
    expect(readers).toEqual([])
  })

  test('no drawer names', () => {
    expect(
      files.filter(file => /(utils?|helpers?|common|manager)\.ts$/.test(file) && !file.startsWith('shared/protocol/')),
    ).toEqual([])
  })

  test('each folder says what it is in a README', () => {
    const folders = new Set(files.map(file => dirname(file)).filter(folder => folder.split('/').length === 2))
    const known = new Set(
      execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard', '*README.md'], {
        cwd: root,
        encoding: 'utf8',
      })
        .split('\n')
        .map(file => dirname(file)),
    )
    expect([...folders].filter(folder => !known.has(folder))).toEqual([])
  })
})
