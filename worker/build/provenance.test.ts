import { expect, test } from 'vitest'
import type { BuildSpecOf } from '#shared/domain/build.ts'
import { buildSpecSchema } from '#shared/domain/build.ts'
import { openMaterials } from './materials.ts'
import { provenanceOf } from './provenance.ts'

const spec = buildSpecSchema.parse({
  ...{ kind: 'dockerfile', tags: ['a:1'], dockerfile: 'Dockerfile', noCache: false },
  source: { kind: 'git', url: 'https://forge.example/a.git', ref: 'main', subfolder: 'web', submodules: false },
  args: { NPM_TOKEN: 'hidden-1', MIRROR: 'https://me:hidden-2@mirror.example/x', PLAIN: 'shown' },
}) as BuildSpecOf<'dockerfile'>

function facts() {
  const materials = openMaterials(true)
  materials.recipeIs({ dockerfile: { path: 'Dockerfile', text: 'FROM x\n', sha256: 'ab' }, secrets: ['s'], ssh: [] })
  const builder = { id: 'https://api.example', version: '1' }
  const times = { startedAt: 0, finishedAt: 1000 }
  return {
    buildId: 'b',
    builder,
    platform: 'linux/amd64',
    commit: 'c'.repeat(40),
    materials,
    isReproducible: false,
    ...times,
  }
}

test('neither mode has a value that may be a secret', () => {
  const [min, max] = [provenanceOf(spec, 'min', facts()), provenanceOf(spec, 'max', facts())]
  expect(JSON.stringify([min, max])).not.toContain('hidden')
  expect(JSON.stringify(min)).not.toContain('shown')
  expect(max.buildDefinition.externalParameters.request).toMatchObject({
    args: {
      'build-arg:NPM_TOKEN': '***',
      'build-arg:MIRROR': 'https://***@mirror.example/x',
      'build-arg:PLAIN': 'shown',
    },
    secrets: [{ id: 's' }],
  })
})

test('a source in git is its place and its commit', () => {
  const { configSource } = provenanceOf(spec, 'min', facts()).buildDefinition.externalParameters
  expect(configSource).toEqual({
    ...{ uri: 'https://forge.example/a.git#main:web', digest: { sha1: 'c'.repeat(40) }, path: 'Dockerfile' },
  })
})

test('dependencies are complete only while no step reached out', () => {
  const known = facts()
  const metadata = () => provenanceOf(spec, 'max', known).runDetails.metadata
  expect(metadata()).toMatchObject({ buildkit_hermetic: true, buildkit_completeness: { resolvedDependencies: true } })
  known.materials.reachedOut()
  expect(metadata()).toMatchObject({ buildkit_hermetic: false, buildkit_completeness: { resolvedDependencies: false } })
})
