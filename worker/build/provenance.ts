import type { BuildSource, BuildSpecOf } from '#shared/domain/build.ts'
import { isSensitiveName } from '../dockerfile/sensitive-name.ts'
import { shown } from './fetch-file.ts'
import type { Materials } from './materials.ts'

/**
 * Its parameters are those that BuildKit defines, so that what reads BuildKit's provenance reads this one
 * (docs.docker.com/build/metadata/attestations/slsa-definitions, "SLSA v1"). Who built is in `builder.id`.
 */
const BUILD_TYPE = 'https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md'
const FRONTEND = 'dockerfile.v0'

export interface BuildFacts {
  buildId: string
  builder: { id: string; version: string }
  platform: string
  commit: string | undefined
  materials: Materials
  /** Unix milliseconds. */
  startedAt: number
  finishedAt: number
  isReproducible: boolean
}

/**
 * The predicate of SLSA's provenance 1.x (slsa.dev/spec/v1.1/provenance) of a build from a Dockerfile. `min` says what was built of what;
 * `max` how, too: values of ARGs and labels, ids of secrets, and the Dockerfile. No secret is in either. Pure.
 */
export function provenanceOf(spec: BuildSpecOf<'dockerfile'>, mode: 'min' | 'max', facts: BuildFacts) {
  const { materials, builder, platform } = facts
  const isMax = mode === 'max'
  return {
    buildDefinition: {
      buildType: BUILD_TYPE,
      externalParameters: {
        configSource: { ...sourceOf(spec.source, facts), path: spec.dockerfile },
        request: isMax ? requestOf(spec, materials) : { frontend: FRONTEND },
      },
      internalParameters: { builderPlatform: platform },
      resolvedDependencies: [...dockerfileOf(materials), ...materials.list()],
    },
    runDetails: {
      builder: { id: builder.id, version: { slipway: builder.version } },
      metadata: {
        invocationId: facts.buildId,
        startedOn: new Date(facts.startedAt).toISOString(),
        finishedOn: new Date(facts.finishedAt).toISOString(),
        buildkit_hermetic: materials.isHermetic(),
        buildkit_completeness: { request: isMax, resolvedDependencies: materials.isHermetic() },
        buildkit_reproducible: facts.isReproducible,
        ...(isMax ? { buildkit_metadata: { source: { infos: sourceInfos(materials) } } } : {}),
      },
    },
  }
}

function sourceOf(source: BuildSource, { commit, materials }: BuildFacts) {
  if (source.kind === 'git') {
    const place = [source.ref ?? '', source.subfolder ?? ''].join(':').replace(/:$/, '')
    const uri = shown(source.url) + (place === '' ? '' : `#${place}`)
    return { uri, ...(commit === undefined ? {} : { digest: commitDigest(commit) }) }
  }
  const found = materials.list().find(({ name }) => name === CONTEXT)
  return { ...(found?.uri === undefined ? {} : { uri: found.uri }), ...(found ? { digest: found.digest } : {}) }
}

/** Names the material that is the context. */
export const CONTEXT = 'context'

/** As BuildKit has it: git's own hash by its algorithm. */
export function commitDigest(commit: string): Record<string, string> {
  return commit.length === 40 ? { sha1: commit } : { sha256: commit }
}

function requestOf(spec: BuildSpecOf<'dockerfile'>, materials: Materials) {
  const { target, args, labels, contexts } = spec
  const named = Object.entries(contexts).map(([name, context]) => [
    `context:${name}`,
    context.kind === 'image' ? `docker-image://${context.reference}` : `input:${context.contextId}`,
  ])
  const values = Object.entries(args).map(([name, value]) => [`build-arg:${name}`, openly(name, value)])
  const labelled = Object.entries(labels).map(([name, value]) => [`label:${name}`, openly(name, value)])
  const { secrets = [], ssh = [] } = materials.recipe() ?? {}
  return {
    frontend: FRONTEND,
    args: Object.fromEntries([...(target === undefined ? [] : [['target', target]]), ...named, ...values, ...labelled]),
    secrets: secrets.map(id => ({ id })),
    ssh: ssh.map(id => ({ id })),
    ...(spec.allow.length > 0 ? { entitlements: spec.allow } : {}),
  }
}

const HIDDEN = '***'

/** What may be a secret is listed by its name: passwords of addresses go, too (HTTP_PROXY has some). */
function openly(name: string, value: string): string {
  if (isSensitiveName(name)) return HIDDEN
  return value.replace(/\/\/[^/\s]*@/g, `//${HIDDEN}@`)
}

function dockerfileOf(materials: Materials) {
  const dockerfile = materials.recipe()?.dockerfile
  return dockerfile ? [{ name: dockerfile.path, digest: { sha256: dockerfile.sha256 } }] : []
}

function sourceInfos(materials: Materials) {
  const dockerfile = materials.recipe()?.dockerfile
  if (!dockerfile) return []
  return [{ filename: dockerfile.path, language: 'Dockerfile', data: Buffer.from(dockerfile.text).toString('base64') }]
}
