import { createServer } from 'node:http';
import { OtlpCollector } from './otlp-collector.ts';

/* Runs in a pod: collects spans on 4318, and on 8080 tells as JSON which traces they belong to, and of whom they are. */
const collector = await OtlpCollector.open(4318, '::');
createServer((_request, response) => {
  response.end(
    JSON.stringify(
      collector.spans.map(({ traceId, spanId, parentId, name, attributes, resource }) => ({
        ...{ traceId, spanId, parentId, name },
        attributes: Object.fromEntries(attributes),
        resource: Object.fromEntries(resource),
      })),
    ),
  );
}).listen(8080);
