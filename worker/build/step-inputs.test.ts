import { expect, test } from 'vitest'
import { parseDockerfile } from '../dockerfile/dockerfile.ts'
import { interpret } from '../dockerfile/interpret.ts'
import { EMPTY_DRAFT } from './image-draft.ts'
import { stepKey } from './step-cache.ts'
import { stepInputs } from './step-inputs.ts'

/** The key of the last instruction. */
function keyOf(text: string, given: Record<string, string> = {}, architecture = 'amd64'): string {
  const dockerfile = parseDockerfile(`FROM a\n${text}\n`, 'Dockerfile')
  let { state } = EMPTY_DRAFT
  let key = ''
  for (const instruction of dockerfile.stages[0]?.instructions ?? []) {
    const step = interpret(instruction, state, { dockerfile, given, globals: new Map() })
    if (step.kind === 'config') state = step.state
    else
      key = stepKey(
        stepInputs({ ...EMPTY_DRAFT, state }, step, {
          ...{ content: 'content', linked: undefined, epoch: undefined, architecture },
        }),
      )
  }
  return key
}

test('a proxy counts once an ARG declares it, and not before', () => {
  const [one, other] = [{ http_proxy: 'http://a' }, { http_proxy: 'http://b' }]
  expect(keyOf('RUN x', one)).toBe(keyOf('RUN x', other))
  expect(keyOf('ARG http_proxy\nRUN x', one)).not.toBe(keyOf('ARG http_proxy\nRUN x', other))
  expect(keyOf('ARG Http_Proxy\nRUN x', { Http_Proxy: 'a' })).not.toBe(keyOf('ARG Http_Proxy\nRUN x'))
})

test('the user counts for RUN and WORKDIR', () => {
  expect(keyOf('USER 1\nRUN x')).not.toBe(keyOf('RUN x'))
  expect(keyOf('USER 1\nWORKDIR /x')).not.toBe(keyOf('WORKDIR /x'))
})

test('what COPY copies counts, and whom for', () => {
  expect(keyOf('COPY a b')).toBe(keyOf('COPY a b'))
  expect(keyOf('COPY --chown=1 a b')).not.toBe(keyOf('COPY a b'))
  expect(keyOf('ADD a b')).not.toBe(keyOf('COPY a b'))
})

test('mounts, networks and here-documents count', () => {
  expect(keyOf('RUN --mount=type=cache,target=/c x')).not.toBe(keyOf('RUN x'))
  expect(keyOf('RUN --network=none x')).not.toBe(keyOf('RUN x'))
  expect(keyOf('RUN <<EOF\n#!/bin/sh\na\nEOF')).not.toBe(keyOf('RUN <<EOF\n#!/bin/sh\nb\nEOF'))
  expect(keyOf('COPY <<f /f\na\nf')).not.toBe(keyOf('COPY <<f /f\nb\nf'))
})

test('what a command gives depends on the architecture, what is copied does not', () => {
  expect(keyOf('RUN x', {}, 'arm64')).not.toBe(keyOf('RUN x'))
  expect(keyOf('COPY a b', {}, 'arm64')).toBe(keyOf('COPY a b'))
})
